"""The versions in this process's engine: fetched, loaded, probed, and let go once their chats have ended."""

import asyncio
import contextlib
import functools
from collections.abc import Collection, Iterator
from typing import Any

from sqlmodel import Session

from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.tables import PolicyRow
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.engine.protocol import BASE, PolicyEngine
from thumbwheel_service.errors import Conflicting, Missing
from thumbwheel_service.owner import Owner
from thumbwheel_service.policies import readiness, repository
from thumbwheel_service.policies.artifacts import ArtifactShelf, Fetched
from thumbwheel_service.policies.router import Lease, Router, Served


class UnknownVersion(Missing):
    """No such policy version."""

    code = "unknown_version"


class NotServable(Conflicting):
    """The version was rejected, or its artifact is no longer fit to be served."""

    code = "not_servable"


class LoadedVersions:
    """Used by `PolicyService` alone, one change at a time."""

    def __init__(
        self, engine: PolicyEngine, router: Router, shelf: ArtifactShelf, writer: Writer, reader: Reader, owner: Owner
    ) -> None:
        self._engine = engine
        self._router = router
        self._shelf = shelf
        self._writer = writer
        self._reader = reader
        self._owner = owner
        self._loaded: dict[str, tuple[Served, Fetched]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def __contains__(self, version: str) -> bool:
        return version in self._loaded

    async def open(self) -> None:
        """After the engine's start."""
        await asyncio.get_running_loop().run_in_executor(None, self._shelf.open, self._engine.info)

    async def ensure(self, version: str) -> Served:
        """The version, loaded; raises `UnknownVersion`, `NotServable`, `Rejected`, `AdapterRefused`."""
        if version == BASE:
            return self._router.base
        if version in self._loaded:
            return self._loaded[version][0]
        row = await self._reader.run(lambda session: repository.find(session, version))
        if row is None:
            raise UnknownVersion(f"no policy version {version!r}", field="version")
        if row.state == "rejected":
            raise NotServable(f"{version} was rejected: {row.reason}", field="version")
        return await self.load(row.artifact, version, None)

    async def load(self, artifact: str, version: str, manifest_sha256: str | None) -> Served:
        """Bring a version in, whose row is there; raises `Rejected`, `AdapterRefused`."""
        fetch = functools.partial(self._shelf.fetch, artifact, version=version, manifest_sha256=manifest_sha256)
        fetched = await asyncio.get_running_loop().run_in_executor(None, fetch)

        def unit(session: Session) -> None:
            repository.set_loaded(session, version, fetched.manifest)
            readiness.note(session, version, self._owner)

        try:
            await self._engine.load(fetched.engine_name, fetched.folder)
            await self._engine.probe(fetched.engine_name)
            await self._writer.run(unit)
        except BaseException:
            await self._engine.unload(fetched.engine_name)
            self._shelf.discard(fetched.folder)
            raise
        served = Served(version, fetched.engine_name)
        self._loaded[version] = (served, fetched)
        return served

    def publish(self, version: str) -> None:
        """Let callers pin it, if it is loaded."""
        if version in self._loaded:
            self._router.publish(self._loaded[version][0])

    @contextlib.contextmanager
    def hold(self, version: str) -> Iterator[str | None]:
        """The engine's name of a loaded version, which stays loaded meanwhile; None when it is not loaded."""
        served = self._router.base if version == BASE else self._loaded[version][0] if version in self._loaded else None
        if served is None:
            yield None
            return
        with Lease(served):
            yield served.engine_name

    def keep(self, versions: Collection[str]) -> None:
        """Unload all others, each once its chats have ended."""
        for version in [v for v in self._loaded if v not in versions]:
            self._router.withdraw(version)
            served, fetched = self._loaded.pop(version)
            task = asyncio.get_running_loop().create_task(self._retire(served, fetched))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Stop waiting for versions to drain."""
        for task in list(self._leaving):
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _retire(self, served: Served, fetched: Fetched) -> None:
        await served.drained()
        await self._engine.unload(served.engine_name)
        self._shelf.discard(fetched.folder)

        def unit(session: Session) -> Any:
            row: PolicyRow | None = repository.find(session, served.version)
            if row is not None and row.state == "loaded" and served.version not in self._loaded:
                repository.set_state(session, served.version, "retired", row.reason)

        await self._writer.run(unit)

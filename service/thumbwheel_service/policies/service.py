"""Brings policy versions in, makes them live, takes them back, lets old ones go: one change at a time."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Iterator
from typing import Any, Literal

from sqlmodel import Session

from thumbwheel.events import PolicyPublished, PolicyRouted
from thumbwheel.types import PolicyList, PolicyVersion
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.tables import PolicyRow
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.engine.protocol import BASE, AdapterRefused, PolicyEngine
from thumbwheel_service.errors import Conflicting, Missing
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.policies import repository
from thumbwheel_service.policies.artifacts import ArtifactShelf, Fetched, Rejected
from thumbwheel_service.policies.router import Lease, Router, Served

_log = logging.getLogger(__name__)
KEEP = 2
"""So many versions that were live before stay loaded, to be pinned or to be rolled back to."""
MAX_WAITING = 2
"""So many versions that wait for a person's yes stay loaded; older ones are loaded again when they get it."""
Promotion = Literal["auto", "manual"]


class UnknownVersion(Missing):
    """No such policy version."""

    code = "unknown_version"


class NotServable(Conflicting):
    """The version was rejected, or its artifact is no longer fit to be served."""

    code = "not_servable"


class NothingToRollBack(Conflicting):
    """The live policy is the one that a rollback would go to."""

    code = "nothing_to_roll_back"


class PolicyService:
    """The only one who moves the route."""

    def __init__(
        self,
        engine: PolicyEngine,
        router: Router,
        shelf: ArtifactShelf,
        writer: Writer,
        reader: Reader,
        metrics: Metrics,
        *,
        promote: Promotion,
    ) -> None:
        self._engine = engine
        self._router = router
        self._shelf = shelf
        self._writer = writer
        self._reader = reader
        self._metrics = metrics
        self._promote = promote
        self._lock = asyncio.Lock()
        self._epoch = 0
        self._loaded: dict[str, tuple[Served, Fetched]] = {}
        self._once_live: list[str] = []
        self._waiting: list[str] = []
        self._leaving: set[asyncio.Task[None]] = set()

    async def restore(self) -> None:
        """After the engine's start: serve what was live; without its artifact what was live before, or the base."""
        async with self._lock:
            await asyncio.get_running_loop().run_in_executor(None, self._shelf.open, self._engine.info)
            row = await self._writer.run(repository.route)
            self._epoch = row.epoch
            self._metrics.policy_epoch.set(row.epoch)
            wanted, back_to = row.version, row.previous
            for version in dict.fromkeys((wanted, back_to, BASE)):
                try:
                    served = await self._ensure(version)
                except (Rejected, AdapterRefused, Missing) as error:
                    await self._lost(version, str(error))
                    continue
                if version == wanted:
                    self._router.route(served)
                    self._once_live.append(version)
                else:
                    await self._move(served, "fallback", time.monotonic(), back_to=BASE)
                break
            await self._restore_previous(back_to)

    async def _restore_previous(self, version: str) -> None:
        if version in (BASE, self._router.live.version):
            return
        try:
            self._router.publish(await self._ensure(version))
            self._once_live.insert(0, version)
        except (Rejected, AdapterRefused, Missing) as error:
            _log.warning("policy %s cannot be pinned or rolled back to any more: %s", version, error)

    async def _lost(self, version: str, reason: str) -> None:
        _log.error("policy %s was live and cannot be served any more: %s", version, reason)
        self._metrics.policy_rejections.inc()
        await self._writer.run(lambda session: repository.set_state(session, version, "retired", reason))

    async def published(self, event: PolicyPublished) -> None:
        """Take in what the learner offers; what was seen before is left alone. Raises `Unavailable`: call again."""
        begun = time.monotonic()
        async with self._lock:
            row = await self._reader.run(lambda session: repository.find(session, event.version))
            if row is not None and row.state != "published":
                return
            if row is None:
                await self._writer.run(lambda session: repository.insert_published(session, event))
            try:
                served = await self._load(event.artifact, event.version, event.manifest_sha256)
            except (Rejected, AdapterRefused) as error:
                await self._reject(event.version, error.detail)
                return
            if self._promote == "manual" or event.promote == "manual":
                _log.info("policy %s is loaded and waits to be promoted", event.version)
                self._waiting.append(event.version)
                await self._let_go()
                return
            if not await self._move(served, "published", begun):
                self._waiting.append(event.version)
                await self._let_go()

    async def routed(self, event: PolicyRouted) -> None:
        """Take the route that another replica has moved to; our own moves are no news. Raises `Unavailable`."""
        async with self._lock:
            if event.epoch <= self._epoch:
                return
            self._epoch = event.epoch
            try:
                served = await self._ensure(event.version)
            except (Rejected, AdapterRefused, Missing, NotServable) as error:
                _log.error("policy %s is live elsewhere and cannot be served here: %s", event.version, error.detail)
                self._metrics.policy_rejections.inc()
                return
            await self._take(served, event.epoch)

    async def promote(self, version: str) -> PolicyList:
        """A person says yes; raises `UnknownVersion`, `NotServable`."""
        await self._go_to(version, "promoted")
        return await self.list()

    async def rollback(self, version: str | None) -> PolicyList:
        """Go back to `version` (default: the one before the live one).

        Raises `UnknownVersion`, `NotServable`, and, without a `version`, `NothingToRollBack`.
        """
        target = version
        if target is None:
            route = await self._reader.run(repository.peek_route)
            target = route.previous
            if target == route.version:
                raise NothingToRollBack(f"{route.version} is live and there is no policy before it")
        await self._go_to(target, "rollback")
        return await self.list()

    async def list(self) -> PolicyList:
        """Every version with its lineage, and the live route."""

        def read(session: Session) -> PolicyList:
            route = repository.peek_route(session)
            versions = [repository.to_version(row) for row in repository.everything(session)]
            base = PolicyVersion(version=BASE, state="live" if route.version == BASE else "loaded")
            return PolicyList(live=route.version, epoch=route.epoch, policies=[*versions, base])

        return await self._reader.run(read)

    async def get(self, version: str) -> PolicyVersion:
        """One version; raises `UnknownVersion`."""
        found = [policy for policy in (await self.list()).policies if policy.version == version]
        if not found:
            raise UnknownVersion(f"no policy version {version!r}", field="version")
        return found[0]

    @contextlib.contextmanager
    def hold(self, version: str) -> Iterator[str | None]:
        """The engine's name of a loaded version, which stays loaded meanwhile; None when it is not loaded."""
        served = self._router.base if version == BASE else self._loaded[version][0] if version in self._loaded else None
        if served is None:
            yield None
            return
        with Lease(served):
            yield served.engine_name

    async def close(self) -> None:
        """Stop waiting for versions to drain."""
        for task in list(self._leaving):
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _go_to(self, version: str, reason: str) -> None:
        begun = time.monotonic()
        async with self._lock:
            if version == self._router.live.version:
                return
            try:
                served = await self._ensure(version)
            except (Rejected, AdapterRefused) as error:
                raise NotServable(f"{version} cannot be served: {error.detail}", field="version") from error
            await self._move(served, reason, begun, back_to=await self._before(version, reason))

    async def _before(self, version: str, reason: str) -> str:
        """Where a rollback after this move would go: never forward again to what was just rolled back."""
        if reason != "rollback":
            return self._router.live.version
        row = await self._reader.run(lambda session: repository.find(session, version))
        return row.parent or BASE if row is not None else BASE

    async def _move(self, served: Served, reason: str, begun: float, *, back_to: str | None = None) -> bool:
        """Commit the new route, then let new chats take it; chats under way end on the version they began with.

        What is published moves the route once: when another replica was faster, and perhaps somebody has gone back
        since, nothing is moved here, and `routed` will tell. Returns whether it was.
        """
        before = back_to if back_to is not None else self._router.live.version

        def unit(session: Session) -> tuple[int, float] | None:
            if reason == "published" and repository.was_live(session, served.version):
                return None
            seconds = time.monotonic() - begun
            row = repository.move_route(session, served.version, back_to=before, reason=reason, seconds=seconds)
            return row.epoch, seconds

        moved = await self._writer.run(unit)
        if moved is None:
            return False
        epoch, seconds = moved
        self._metrics.policy_swaps.inc()
        self._metrics.swap_seconds.observe(seconds)
        _log.info("policy %s is live (%s, epoch %d, %.3f s)", served.version, reason, epoch, seconds)
        await self._take(served, epoch)
        return True

    async def _take(self, served: Served, epoch: int) -> None:
        """Let new chats take the version."""
        self._router.route(served)
        self._epoch = epoch
        self._waiting = [version for version in self._waiting if version != served.version]
        self._once_live = [version for version in self._once_live if version != served.version] + [served.version]
        self._metrics.policy_epoch.set(epoch)
        await self._let_go()

    async def _ensure(self, version: str) -> Served:
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
        return await self._load(row.artifact, version, None)

    async def _load(self, artifact: str, version: str, manifest_sha256: str | None) -> Served:
        fetch = functools.partial(self._shelf.fetch, artifact, version=version, manifest_sha256=manifest_sha256)
        fetched = await asyncio.get_running_loop().run_in_executor(None, fetch)
        try:
            await self._engine.load(fetched.engine_name, fetched.folder)
            await self._engine.probe(fetched.engine_name)
            await self._writer.run(lambda session: repository.set_loaded(session, version, fetched.manifest))
        except BaseException:
            await self._engine.unload(fetched.engine_name)
            self._shelf.discard(fetched.folder)
            raise
        served = Served(version, fetched.engine_name)
        self._loaded[version] = (served, fetched)
        return served

    async def _reject(self, version: str, reason: str) -> None:
        _log.error("policy %s is rejected: %s", version, reason)
        self._metrics.policy_rejections.inc()
        await self._writer.run(lambda session: repository.reject(session, version, reason))

    async def _let_go(self) -> None:
        """Unload what is neither live nor kept, once its chats have ended."""
        live = self._router.live.version
        before = [version for version in self._once_live if version != live]
        self._once_live = [*before[-KEEP:], *([live] if live != BASE else [])]
        self._waiting = self._waiting[-MAX_WAITING:]
        kept = {live, *self._once_live, *self._waiting}
        for version in self._once_live:
            if version in self._loaded:
                self._router.publish(self._loaded[version][0])
        for version in [v for v in self._loaded if v not in kept]:
            self._router.withdraw(version)
            served, fetched = self._loaded.pop(version)
            task = asyncio.get_running_loop().create_task(self._retire(served, fetched))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _retire(self, served: Served, fetched: Fetched) -> None:
        await served.drained()
        await self._engine.unload(served.engine_name)
        self._shelf.discard(fetched.folder)

        def unit(session: Session) -> Any:
            row: PolicyRow | None = repository.find(session, served.version)
            if row is not None and row.state == "loaded" and served.version not in self._loaded:
                repository.set_state(session, served.version, "retired", row.reason)

        await self._writer.run(unit)

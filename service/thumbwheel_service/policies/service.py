"""Brings policy versions in, makes them live, takes them back, lets old ones go: one change at a time."""

import asyncio
import logging
import time
from contextlib import AbstractContextManager
from typing import Literal

from sqlmodel import Session

from thumbwheel.events import PolicyPublished, PolicyRouted
from thumbwheel.types import PolicyList, PolicyVersion
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.tables import PolicyRow
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.engine.protocol import BASE, AdapterRefused
from thumbwheel_service.errors import Conflicting, Missing
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.owner import Owner
from thumbwheel_service.policies import repository
from thumbwheel_service.policies.artifacts import Rejected
from thumbwheel_service.policies.loaded import LoadedVersions, NotServable, UnknownVersion
from thumbwheel_service.policies.moves import Moved, Waiting, move, publish
from thumbwheel_service.policies.router import Router, Served

_log = logging.getLogger(__name__)
_ASK_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0
KEEP = 2
"""So many versions that were live before stay loaded, to be pinned or to be rolled back to."""
MAX_WAITING = 2
"""So many versions that wait for a person's yes stay loaded; older ones are loaded again when they get it."""
Promotion = Literal["auto", "manual"]


class NothingToRollBack(Conflicting):
    """The live policy is the one that a rollback would go to."""

    code = "nothing_to_roll_back"


class PolicyService:
    """The only one who moves the route."""

    def __init__(
        self,
        router: Router,
        loaded: LoadedVersions,
        writer: Writer,
        reader: Reader,
        metrics: Metrics,
        owner: Owner,
        *,
        promote: Promotion,
        ask_seconds: float = _ASK_SECONDS,
    ) -> None:
        self._router = router
        self._loaded = loaded
        self._writer = writer
        self._reader = reader
        self._metrics = metrics
        self._owner = owner
        self._promote = promote
        self._ask_seconds = ask_seconds
        self._lock = asyncio.Lock()
        self._epoch = 0
        self._once_live: list[str] = []
        self._waiting: list[str] = []
        self._proposed: dict[str, asyncio.Task[None]] = {}

    async def restore(self) -> None:
        """After the engine's start: serve what was live; without its artifact what was live before, or the base."""
        async with self._lock:
            await self._loaded.open()
            row = await self._writer.run(repository.route)
            self._epoch = row.epoch
            self._metrics.policy_epoch.set(row.epoch)
            wanted, back_to = row.version, row.previous
            for version in dict.fromkeys((wanted, back_to, BASE)):
                try:
                    served = await self._loaded.ensure(version)
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
            self._router.publish(await self._loaded.ensure(version))
            self._once_live.insert(0, version)
        except (Rejected, AdapterRefused, Missing) as error:
            _log.warning("policy %s cannot be pinned or rolled back to any more: %s", version, error)

    async def _lost(self, version: str, reason: str) -> None:
        _log.error("policy %s was live and cannot be served any more: %s", version, reason)
        self._metrics.policy_rejections.inc()
        await self._writer.run(lambda session: repository.set_state(session, version, "retired", reason))

    async def published(self, event: PolicyPublished) -> None:
        """Take in what the learner offers; what was seen before is left alone. Raises `Unavailable`: call again.

        It goes live once every replica that lives has it in its engine: by the one that is last to probe it.
        """
        begun = time.monotonic()
        by_hand = self._promote == "manual" or event.promote == "manual"
        async with self._lock:
            row = await self._reader.run(lambda session: repository.find(session, event.version))
            if row is not None and not self._is_news(row, by_hand):
                return
            if row is None:
                await self._writer.run(lambda session: repository.insert_published(session, event))
            try:
                served = await self._loaded.load(event.artifact, event.version, event.manifest_sha256)
            except (Rejected, AdapterRefused) as error:
                await self._reject(event.version, error.detail)
                return
            if by_hand:
                _log.info("policy %s is loaded and waits to be promoted", event.version)
            elif await self._propose(served, begun):
                return
            self._waiting.append(event.version)
            await self._let_go()

    def _is_news(self, row: PolicyRow, by_hand: bool) -> bool:
        """Whether this process has to load it: another one may have, and waits for this one."""
        if row.version in self._loaded:
            return False
        return row.state == "published" or (row.state == "loaded" and row.swap_seconds is None and not by_hand)

    async def _propose(self, served: Served, begun: float) -> bool:
        """Make it live if nobody is waited for, else as soon as that is so; returns whether it is live."""
        found = await self._publish(served, begun)
        if isinstance(found, Waiting):
            _log.info("policy %s is loaded and waits for %s", served.version, found)
            task = asyncio.get_running_loop().create_task(self._insist(served, begun))
            self._proposed[served.version] = task
            task.add_done_callback(lambda _: self._proposed.pop(served.version, None))
        return isinstance(found, Moved)

    async def _insist(self, served: Served, begun: float) -> None:
        """Ask again until it is live, here or elsewhere, or need not be any more."""
        told = begun
        while True:
            await asyncio.sleep(self._ask_seconds)
            async with self._lock:
                if served.version not in self._loaded or served.version == self._router.live.version:
                    return
                try:
                    found = await self._publish(served, begun)
                except Exception as error:  # an outage, most likely: it goes on waiting
                    _log.warning("policy %s waits for the database: %s", served.version, error)
                    continue
                if found is None:
                    await self._give_up(served.version)
            if not isinstance(found, Waiting):
                return
            if time.monotonic() - told > _PATIENCE_SECONDS:
                told = time.monotonic()
                _log.warning("policy %s still waits for %s to probe it", served.version, found)

    async def routed(self, event: PolicyRouted) -> None:
        """Take the route that another replica has moved to; our own moves are no news. Raises `Unavailable`."""
        async with self._lock:
            if event.epoch <= self._epoch:
                return
            self._epoch = event.epoch
            try:
                served = await self._loaded.ensure(event.version)
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

    def hold(self, version: str) -> AbstractContextManager[str | None]:
        """The engine's name of a loaded version, which stays loaded meanwhile; None when it is not loaded."""
        return self._loaded.hold(version)

    async def close(self) -> None:
        """Stop waiting: for other replicas, and for versions to drain."""
        for task in list(self._proposed.values()):
            task.cancel()
        await asyncio.gather(*self._proposed.values(), return_exceptions=True)
        await self._loaded.close()

    async def _go_to(self, version: str, reason: str) -> None:
        begun = time.monotonic()
        async with self._lock:
            if version == self._router.live.version:
                return
            try:
                served = await self._loaded.ensure(version)
            except (Rejected, AdapterRefused) as error:
                raise NotServable(f"{version} cannot be served: {error.detail}", field="version") from error
            await self._move(served, reason, begun, back_to=await self._before(version, reason))

    async def _before(self, version: str, reason: str) -> str:
        """Where a rollback after this move would go: never forward again to what was just rolled back."""
        if reason != "rollback":
            return self._router.live.version
        row = await self._reader.run(lambda session: repository.find(session, version))
        return row.parent or BASE if row is not None else BASE

    async def _give_up(self, version: str) -> None:
        """Nobody waits for it any more; one that is live elsewhere stays loaded for `routed`, which will tell."""
        row = await self._reader.run(lambda session: repository.find(session, version))
        if row is None or row.state != "live":
            self._waiting = [other for other in self._waiting if other != version]
            await self._let_go()

    async def _publish(self, served: Served, begun: float) -> Moved | Waiting | None:
        """Make it live if nobody is waited for."""
        before, owner = self._router.live.version, self._owner
        found = await self._writer.run(
            lambda session: publish(session, served.version, owner, back_to=before, begun=begun)
        )
        if isinstance(found, Moved):
            await self._moved(served, "published", found)
        return found

    async def _move(self, served: Served, reason: str, begun: float, *, back_to: str) -> None:
        """Commit the new route, then let new chats take it; chats under way end on the version they began with."""
        moved = await self._writer.run(
            lambda session: move(session, served.version, back_to=back_to, reason=reason, begun=begun)
        )
        await self._moved(served, reason, moved)

    async def _moved(self, served: Served, reason: str, moved: Moved) -> None:
        self._metrics.policy_swaps.inc()
        self._metrics.swap_seconds.observe(moved.seconds)
        _log.info("policy %s is live (%s, epoch %d, %.3f s)", served.version, reason, moved.epoch, moved.seconds)
        await self._take(served, moved.epoch)

    async def _take(self, served: Served, epoch: int) -> None:
        """Let new chats take the version."""
        self._router.route(served)
        self._epoch = epoch
        self._waiting = [version for version in self._waiting if version != served.version]
        self._once_live = [version for version in self._once_live if version != served.version] + [served.version]
        self._metrics.policy_epoch.set(epoch)
        await self._let_go()

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
            self._loaded.publish(version)
        self._loaded.keep(kept)

"""Erases people on request, sees each erasure through to its end, and applies them again after a restore."""

import asyncio
import logging
from collections.abc import Sequence

from sqlmodel import Session

from thumbwheel.events import ErasureApplied, PersonErased, new_id, now_ms, wrap
from thumbwheel.internal import Keys
from thumbwheel.types import Erasure, ErasureList
from thumbwheel_service.db.key_store import KeyStore, KeysUnavailable, KeyThread
from thumbwheel_service.db.keyring import Keyring, Subject
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.erasure import repository
from thumbwheel_service.errors import Conflicting, Missing
from thumbwheel_service.log.append import append_events
from thumbwheel_service.metrics import Metrics

_log = logging.getLogger(__name__)
_DAY_MS = 86_400_000
_LOOK_SECONDS = 30.0


class UnknownPerson(Missing):
    """Nothing is stored of this user or conversation."""

    code = "unknown_person"


class UnknownErasure(Missing):
    """No erasure has this id."""

    code = "unknown_erasure"


class HasUsers(Conflicting):
    """The conversation's turns belong to users, who are erased by name."""

    code = "conversation_has_users"


class ErasureService:
    """The one place where keys are destroyed."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        store: KeyStore,
        keyring: Keyring,
        thread: KeyThread,
        metrics: Metrics,
        *,
        deadline_days: float,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._store = store
        self._keyring = keyring
        self._thread = thread
        self._metrics = metrics
        self._deadline_ms = int(deadline_days * _DAY_MS)

    async def erase_user(self, tenant: str, user: str) -> Erasure:
        """Forget a user: their chats, their feedback, and what others said of their chats.

        Where nothing is left, the receipt of the last time; raises `UnknownPerson` where there never was anything.
        """
        return await self._erase(tenant, Subject("user", user))

    async def erase_conversation(self, tenant: str, conversation_id: str) -> Erasure:
        """Forget an anonymous conversation; raises `UnknownPerson`, `HasUsers`."""
        users = await self._reader.run(lambda session: repository.users_of(session, tenant, conversation_id))
        if users:
            raise HasUsers(f"the conversation belongs to users ({', '.join(users)}): erase them")
        return await self._erase(tenant, Subject("conversation", conversation_id))

    async def get(self, tenant: str, erasure_id: str) -> Erasure:
        """A receipt; raises `UnknownErasure`."""
        found = await self._reader.run(lambda session: repository.find(session, tenant, erasure_id))
        if found is None:
            raise UnknownErasure(f"no erasure {erasure_id!r}")
        return found

    async def list(self, tenant: str) -> ErasureList:
        """The newest receipts."""
        return ErasureList(erasures=await self._reader.run(lambda session: repository.newest(session, tenant)))

    async def keys(self, ids: Sequence[str]) -> Keys:
        """Those of the keys that there are, for the learner."""
        return Keys(dict(await self._thread.run(lambda: self._store.get(ids))))

    async def reconcile(self) -> None:
        """At start: whichever of the databases was restored learns from the other one who had been erased."""
        known = await self._reader.run(
            lambda session: repository.keys_in_state(session, "erasing", "erased", "complete")
        )
        keys = [key_id for ids in known.values() for key_id in ids]
        alive = sorted(await self._thread.run(lambda: self._store.get(keys)))
        if alive:
            _log.warning("%d keys of erased people are there again and are destroyed", len(alive))
            await self._thread.run(lambda: self._keyring.destroy(alive))
        destroyed = sorted(await self._thread.run(lambda: self._store.all_destroyed("erased")))
        await self._forget_bound(destroyed)

    async def run(self) -> None:
        """Destroy what could not be destroyed at once, and look for erasures that take too long."""
        while True:
            pending = await self._reader.run(lambda session: repository.keys_in_state(session, "erasing"))
            for erasure_id, keys in pending.items():
                await self._destroy(erasure_id, keys)
            open_ones, late = await self._reader.run(lambda session: repository.unfinished(session, now_ms()))
            self._metrics.erasures_open.set(open_ones)
            self._metrics.erasures_late.set(late)
            await asyncio.sleep(_LOOK_SECONDS)

    async def heard(self, event: PersonErased | ErasureApplied) -> None:
        """What the bus says of erasures; again is fine.

        An erasure that we do not know was asked for before both databases were restored: it is applied again.
        """
        known = await self._reader.run(lambda session: repository.find(session, None, event.erasure_id))
        match event:
            case PersonErased(by_age=True):
                await self._thread.run(lambda: self._keyring.destroy(event.keys, "expired"))
            case PersonErased() if known is None:
                _log.warning("erasure %s is not in this database: it is applied again", event.erasure_id)
                await self._thread.run(lambda: self._keyring.destroy(event.keys))
                await self._forget_bound(event.keys)
            case ErasureApplied() if known is not None and known.applied_ms is None:
                await self._writer.run(
                    lambda session: repository.mark_applied(session, event.erasure_id, event.created_ms, event.versions)
                )
            case _:
                pass

    async def _erase(self, tenant: str, subject: Subject) -> Erasure:
        now = now_ms()
        erasure_id = new_id("er")

        def unit(session: Session) -> tuple[Erasure, list[str]]:
            gone = repository.forget(session, tenant, subject)
            if not (gone.turns or gone.feedback or gone.keys):
                earlier = repository.newest_of(session, tenant, subject)
                if earlier is None:
                    raise UnknownPerson(f"nothing is stored of {subject.kind} {subject.id!r}")
                return earlier, []
            erasure = Erasure(
                erasure_id=erasure_id,
                subject_sha256=repository.subject_digest(tenant, subject),
                state="erasing",
                turns=gone.turns,
                feedback=gone.feedback,
                created_ms=now,
                deadline_ms=now + self._deadline_ms,
            )
            repository.insert_erasure(session, tenant, erasure, gone.keys)
            event = PersonErased(erasure_id=erasure_id, keys=gone.keys, created_ms=now)
            append_events(session, [wrap(event, tenant=tenant, event_id=erasure_id)])
            return erasure, gone.keys

        erasure, keys = await self._writer.run(unit)
        if erasure.erasure_id != erasure_id:
            return erasure
        await self._destroy(erasure_id, keys)
        return await self.get(tenant, erasure_id)

    async def _destroy(self, erasure_id: str, keys: Sequence[str]) -> None:
        """A key store that is away delays it: `run` tries again, and the receipt says `erasing` until then."""
        try:
            await self._thread.run(lambda: self._keyring.destroy(keys))
        except KeysUnavailable as error:
            _log.warning("the keys of erasure %s are not destroyed yet: %s", erasure_id, error)
            return
        await self._writer.run(lambda session: repository.mark_destroyed(session, erasure_id))

    async def _forget_bound(self, keys: Sequence[str]) -> None:
        """Delete what a restored database still holds of people whose keys are gone."""
        for tenant, subject in await self._reader.run(lambda session: repository.subjects_of(session, keys)):
            gone = await self._writer.run(
                lambda session, tenant=tenant, subject=subject: repository.forget(session, tenant, subject)
            )
            _log.warning("erased again after a restore: %d turns, %d pieces of feedback", gone.turns, gone.feedback)
            await self._thread.run(lambda gone=gone: self._keyring.destroy(gone.keys))

"""Retention by age: what is older than a number of days goes, everywhere, by the same keys as erasures.

People get a new key now and then, so that what is old lies under keys of its own: rows go by their age, and a key is
destroyed once everything that was ever sealed under it is older than that. Copies elsewhere are unreadable with it.
"""

import asyncio
import logging

from sqlmodel import Session

from thumbwheel.events import PersonErased, new_id, now_ms, wrap
from thumbwheel_service.db.key_store import KeyThread
from thumbwheel_service.db.keyring import Keyring
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.erasure import repository
from thumbwheel_service.log.append import append_events
from thumbwheel_service.metrics import Metrics

_log = logging.getLogger(__name__)
_DAY_MS = 86_400_000
_EVERY_SECONDS = 600.0
_PAUSE_SECONDS = 0.1
_ROWS, _KEYS = 100, 500
"""Per transaction: a few milliseconds of the writer's time."""
_KEYS_PER_LIFE = 10


def renew_ms(retention_days: float) -> int | None:
    """How long a person's key is used for what is new: a tenth of the retention; None without one."""
    return int(retention_days * _DAY_MS / _KEYS_PER_LIFE) if retention_days else None


class AgeRetention:
    """One task per process; several on one database find what the others have left."""

    def __init__(
        self, writer: Writer, reader: Reader, keyring: Keyring, thread: KeyThread, metrics: Metrics, *, days: float
    ) -> None:
        """`days` 0 keeps everything."""
        self._writer = writer
        self._reader = reader
        self._keyring = keyring
        self._thread = thread
        self._metrics = metrics
        self._days = days

    async def begin(self) -> None:
        """Before anything is stored: keys that were made for ever are used no longer. The old goes later, in `run`."""
        if self._days:
            await self._writer.run(lambda session: repository.retire(session, now_ms()))

    async def run(self) -> None:
        """Look at once, then now and then, until cancelled."""
        while True:
            await self.expire()
            await asyncio.sleep(_EVERY_SECONDS)

    async def expire(self) -> int:
        """Remove all that is too old now; returns how many turns and pieces of feedback went."""
        if not self._days:
            return 0
        before, total = now_ms() - int(self._days * _DAY_MS), 0
        while any(old := await self._reader.run(lambda session: repository.older(session, before, limit=_ROWS))):
            total += await self._writer.run(lambda session, old=old: repository.delete_old(session, old))
            await asyncio.sleep(_PAUSE_SECONDS)
        while keys := await self._reader.run(lambda session: repository.unused_since(session, before, limit=_KEYS)):
            await self._thread.run(lambda keys=keys: self._keyring.destroy(keys, "expired"))
            await self._writer.run(lambda session, keys=keys: _unbind(session, keys))
        self._metrics.expired.inc(total)
        if total:
            _log.info("%d turns and pieces of feedback were older than %g days and are gone", total, self._days)
        return total


def _unbind(session: Session, keys: list[str]) -> None:
    """In one transaction with the event: a crash before it finds the keys again, which may be destroyed twice."""
    for tenant, gone in repository.unbind(session, keys).items():
        event = PersonErased(erasure_id=new_id("age"), keys=gone, created_ms=now_ms(), by_age=True)
        append_events(session, [wrap(event, tenant=tenant)])

"""Whose words are sealed under which key: bindings in the service's database, keys in the key store, some in memory."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sqlalchemy.engine import Connection

from thumbwheel.box import Secrets
from thumbwheel.events import now_ms
from thumbwheel_service.db.bulk import Among, Insert
from thumbwheel_service.db.key_store import KeyStore, KeysUnavailable, Reason
from thumbwheel_service.db.tables import PersonRow, table_of
from thumbwheel_service.errors import Gone

_log = logging.getLogger(__name__)
_person = table_of(PersonRow)
_bound = Among(_person, ["subject", "key_id", "used_until_ms"], "subject", equal=["tenant"])
_bind = Insert(_person, ("tenant", "subject", "key_id", "used_until_ms"))
_BATCH = 256
"""Keys made at once: one fsync of the key store for so many people."""
_KEEP_SECONDS = 60.0
"""Keys are forgotten after that long: by then no replica can read what another one has erased."""
_MOST_KEPT = 100_000


class PersonErased(Gone):
    """Somebody these words concern has been erased; what is left of them cannot be read."""

    code = "erased"


class KeyLost(KeysUnavailable):
    """A key is neither in the key store nor known as destroyed; nothing was erased.

    The store was restored from an old back-up, or is another one.
    """

    code = "key_lost"


class Subject(NamedTuple):
    """Who is forgotten as one: a person, or all that was said anonymously in one conversation."""

    kind: str
    """user | conversation | feedback"""
    id: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.id}"


def subject_of(user: str | None, conversation_id: str) -> Subject:
    """Whose a chat is."""
    return Subject("conversation", conversation_id) if user is None else Subject("user", user)


class Keyring:
    """Thread-safe. Keys that were read are kept in memory for a minute."""

    def __init__(
        self,
        store: KeyStore,
        *,
        renew_ms: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        begin: Callable[[Callable[[], object]], None] | None = None,
    ) -> None:
        """`renew_ms`: so long a person's key is used for what is new, for ever with None.

        `begin` does work elsewhere: keys are then made before they are needed, and the writer need not wait for it.
        """
        self._store = store
        self._begin = begin
        self._making = False
        self._renew_ms = renew_ms
        self._clock = clock
        self._lock = threading.Lock()
        self._free: list[tuple[str, bytes]] = []
        self._kept: dict[str, bytes] = {}
        self._kept_since = clock()

    def bound(self, connection: Connection, tenant: str, subjects: Iterable[Subject]) -> Secrets:
        """The keys of these people, bound in the writing transaction of `connection` where they have none yet.

        Raises `KeysUnavailable`, `KeyLost`, `PersonErased` (the database was restored, and not reconciled yet).
        """
        return dict(self.bound_each(connection, tenant, subjects).values())

    def bound_each(
        self, connection: Connection, tenant: str, subjects: Iterable[Subject]
    ) -> dict[Subject, tuple[str, bytes]]:
        """The same, person by person: the key's id and the key."""
        by_name = {str(subject): subject for subject in subjects}
        names = sorted(by_name)
        now = now_ms()
        held: dict[str, str] = {
            name: key_id for name, key_id, until in _bound(connection, names, tenant) if until is None or until > now
        }
        fresh = {name: self._take() for name in names if name not in held}
        if fresh:
            until = None if self._renew_ms is None else now + self._renew_ms
            _bind.each(connection, [(tenant, name, key_id, until) for name, (key_id, _) in fresh.items()])
        secrets = self.secrets(list(held.values()))
        found = {name: (key_id, secrets[key_id]) for name, key_id in held.items()} | fresh
        return {subject: found[name] for name, subject in by_name.items()}

    def secrets(self, ids: Sequence[str]) -> Secrets:
        """These keys; raises `PersonErased` where one was destroyed, `KeyLost` where one is missing."""
        with self._lock:
            self._forget_old()
            kept = {i: self._kept[i] for i in ids if i in self._kept}
        if missing := [i for i in ids if i not in kept]:
            found = self._store.get(missing)
            if lost := [i for i in missing if i not in found]:
                self._explain(lost)
            self._keep(found)
            kept.update(found)
        return kept

    def destroy(self, ids: Sequence[str], why: Reason = "erased") -> None:
        """Destroy keys for good, here and in the store. Raises `KeysUnavailable`."""
        self._store.destroy(ids, why)
        with self._lock:
            for key_id in ids:
                self._kept.pop(key_id, None)

    def _take(self) -> tuple[str, bytes]:
        with self._lock:
            if not self._free:
                self._free.extend(self._store.make(_BATCH).items())
            key_id, secret = self._free.pop()
            self._kept[key_id] = secret
            short = self._begin is not None and not self._making and len(self._free) < _BATCH
            self._making |= short
        if short and self._begin is not None:
            self._begin(self._make_more)
        return key_id, secret

    def _make_more(self) -> None:
        try:
            made = self._store.make(_BATCH)
            with self._lock:
                self._free.extend(made.items())
        except KeysUnavailable as error:
            _log.warning("no keys could be made in advance: %s", error)
        finally:
            self._making = False

    def _keep(self, found: Secrets) -> None:
        with self._lock:
            if len(self._kept) + len(found) > _MOST_KEPT:
                self._kept.clear()
            self._kept.update(found)

    def _forget_old(self) -> None:
        now = self._clock()
        if now - self._kept_since > _KEEP_SECONDS:
            self._kept.clear()
            self._kept_since = now

    def _explain(self, missing: Sequence[str]) -> None:
        destroyed = self._store.destroyed(missing)
        if any(key_id not in destroyed for key_id in missing):
            raise KeyLost(
                "the key store lacks a key it was never told to destroy; was it restored from an old back-up?"
            )
        raise PersonErased("somebody this concerns has been erased, or it was too old to be kept")

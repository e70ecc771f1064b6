"""Keys in tests: a key store in memory, and the real one where the service keeps it; events and bodies opened."""

import secrets
from collections.abc import Collection, Sequence

from sqlalchemy import Engine

from thumbwheel import box
from thumbwheel.box import KEY_BYTES, Secrets
from thumbwheel.events import Event, FeedbackSealed, TurnSealed, decode
from thumbwheel.sealed import open_feedback, open_turn
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.key_store import KeyStore, KeysUnavailable, Reason, SqlKeyStore
from thumbwheel_service.db.keyring import Keyring
from thumbwheel_service.settings import Settings


class MemoryKeyStore:
    """A `KeyStore` that can be told to be away."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.gone: dict[str, Reason] = {}
        self.away = False

    def make(self, count: int) -> Secrets:
        self._check()
        made = {secrets.token_hex(16): secrets.token_bytes(KEY_BYTES) for _ in range(count)}
        self.keys |= made
        return made

    def get(self, ids: Collection[str]) -> Secrets:
        self._check()
        return {i: self.keys[i] for i in ids if i in self.keys}

    def destroyed(self, ids: Sequence[str]) -> set[str]:
        self._check()
        return self.gone.keys() & set(ids)

    def destroy(self, ids: Sequence[str], why: Reason) -> None:
        self._check()
        self.gone.update(dict.fromkeys(ids, why))
        for key_id in ids:
            self.keys.pop(key_id, None)

    def all_destroyed(self, why: Reason) -> set[str]:
        self._check()
        return {key_id for key_id, reason in self.gone.items() if reason == why}

    def _check(self) -> None:
        if self.away:
            raise KeysUnavailable("the key store does not answer; try again")


STORE = MemoryKeyStore()
"""Shared, as replicas share theirs."""
KEYRING = Keyring(STORE)
_beside: dict[str, tuple[SqlKeyStore, Keyring]] = {}


def keyring_beside(database: Engine) -> Keyring:
    """Over the key store where a service on this database has it; closed by `close_keyrings`."""
    return _at(database)[1]


def store_beside(database: Engine) -> SqlKeyStore:
    """That key store."""
    return _at(database)[0]


def close_keyrings() -> None:
    """Let go of every key store that was opened here."""
    while _beside:
        _beside.popitem()[1][0].close()


def opened(value: bytes, store: KeyStore = STORE) -> Event:
    """The event in an envelope, out of its box."""
    event = decode(value).event
    match event:
        case TurnSealed():
            return open_turn(event, store.get(box.key_ids(event.box)))
        case FeedbackSealed():
            return open_feedback(event, store.get(box.key_ids(event.box)))
        case _:
            return event


def _at(database: Engine) -> tuple[SqlKeyStore, Keyring]:
    url = database.url.render_as_string(hide_password=False)
    if url not in _beside:
        store = SqlKeyStore(connect(Settings(database_url=url).keys_database_url))
        _beside[url] = store, Keyring(store)
    return _beside[url]

"""Whose words are sealed under which key, on both databases: bound once, durable, and gone when destroyed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from tests.contract.service.store import write
from tests.keyrings import MemoryKeyStore, store_beside

from thumbwheel_service.db.key_store import KeysUnavailable, SqlKeyStore
from thumbwheel_service.db.keyring import KeyLost, Keyring, PersonErased, Subject, subject_of

ANN, BOB, TALK = Subject("user", "ann"), Subject("user", "bob"), Subject("conversation", "c-1")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(database: Engine) -> SqlKeyStore:
    return store_beside(database)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keyring(store: SqlKeyStore, clock: Clock) -> Keyring:
    return Keyring(store, clock=clock)


def test_a_chat_is_its_user_s_or_its_conversation_s() -> None:
    assert subject_of("ann", "c-1") == ANN
    assert subject_of(None, "c-1") == TALK
    assert str(TALK) == "conversation/c-1"


def test_a_person_keeps_the_key_and_tenants_share_none(database: Engine, keyring: Keyring) -> None:
    first = write(database, lambda s: keyring.bound(s.connection(), "t", [ANN, TALK, ANN]))
    again = write(database, lambda s: keyring.bound(s.connection(), "t", [TALK, ANN]))
    other = write(database, lambda s: keyring.bound(s.connection(), "other", [ANN]))
    assert (len(first), again) == (2, first)
    assert not first.keys() & other.keys()
    assert {len(key) for key in first.values()} == {32}


def test_another_replica_finds_the_same_key(database: Engine, store: SqlKeyStore, keyring: Keyring) -> None:
    first = write(database, lambda s: keyring.bound(s.connection(), "t", [BOB]))
    assert write(database, lambda s: Keyring(store).bound(s.connection(), "t", [BOB])) == first


def test_keys_are_made_before_they_are_needed(database: Engine) -> None:
    store, elsewhere = MemoryKeyStore(), list[Callable[[], object]]()
    keyring = Keyring(store, begin=elsewhere.append)

    def people(first: int, last: int) -> list[Subject]:
        return [Subject("user", f"u-{number}") for number in range(first, last)]

    write(database, lambda s: keyring.bound(s.connection(), "t", people(0, 1)))
    (work,) = elsewhere
    work()
    store.away = True
    assert len(write(database, lambda s: keyring.bound(s.connection(), "t", people(1, 300)))) == 299
    elsewhere.pop()()
    assert len(elsewhere) == 1, "one at a time, and again when the store is back"
    store.away = False
    write(database, lambda s: keyring.bound(s.connection(), "t", people(300, 301)))
    elsewhere.pop()()
    assert len(store.keys) == 3 * 256


def test_what_is_rolled_back_binds_nobody(database: Engine, keyring: Keyring) -> None:
    def unit(session: object) -> None:
        keyring.bound(session.connection(), "t", [ANN])  # type: ignore[attr-defined]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(database, unit)
    assert write(database, lambda s: keyring.bound(s.connection(), "t", [ANN]))


def test_a_destroyed_key_is_gone_for_every_replica_within_a_minute(
    database: Engine, store: SqlKeyStore, keyring: Keyring, clock: Clock
) -> None:
    keys = write(database, lambda s: keyring.bound(s.connection(), "t", [ANN]))
    ids = list(keys)
    Keyring(store).destroy(ids)
    assert keyring.secrets(ids) == keys, "kept in memory"
    clock.now += 61
    with pytest.raises(PersonErased):
        keyring.secrets(ids)
    store.destroy(ids, "expired")
    assert (store.get(ids), store.destroyed(ids)) == ({}, set(ids))
    assert (store.all_destroyed("erased"), store.all_destroyed("expired")) == (set(ids), set())


def test_the_replica_that_destroys_forgets_at_once(database: Engine, keyring: Keyring) -> None:
    keys = write(database, lambda s: keyring.bound(s.connection(), "t", [ANN]))
    keyring.destroy(list(keys))
    with pytest.raises(PersonErased):
        keyring.secrets(list(keys))


def test_a_key_that_is_missing_and_was_never_destroyed_is_an_alarm(keyring: Keyring) -> None:
    with pytest.raises(KeyLost, match="back-up"):
        keyring.secrets(["ab" * 16])


def test_more_keys_than_a_statement_takes(store: SqlKeyStore) -> None:
    made = store.make(1_234)
    assert store.get(sorted(made)) == made
    store.destroy(sorted(made), "erased")
    assert store.get(sorted(made)) == {}
    assert store.destroyed(sorted(made)) == made.keys()


def test_a_store_that_is_away_is_said_so(database: Engine) -> None:
    memory = MemoryKeyStore()
    memory.away = True
    with pytest.raises(KeysUnavailable):
        write(database, lambda s: Keyring(memory).bound(s.connection(), "t", [ANN]))


def test_the_database_s_own_trouble_is_not_shown(store: SqlKeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OperationalError("SELECT secret", {}, Exception("disk I/O error"))

    monkeypatch.setattr(store._engine, "connect", broken)
    with pytest.raises(KeysUnavailable) as caught:
        store.make(1)
    assert "secret" not in str(caught.value)


def test_no_byte_of_a_destroyed_key_stays_in_the_file(database: Engine, store: SqlKeyStore) -> None:
    if database.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's files are its own; VACUUM and the write-ahead log decide there")
    made = store.make(300)
    store.destroy(sorted(made), "erased")
    file = store._engine.url.database
    assert file is not None
    written = b"".join(Path(f"{file}{end}").read_bytes() for end in ("", "-wal"))
    assert not any(secret in written for secret in made.values())

"""The writer's promises: yes means on disk, a bad unit fails alone, a failing database tells nobody yes."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import Session
from tests.keyrings import keyring_beside

from thumbwheel.bus import NewRecord, partition_of
from thumbwheel.events import TURNS
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.group import Failed
from thumbwheel_service.db.tables import LogHead, LogRow, UnstoredRow
from thumbwheel_service.db.writer import NotWritten, Writer, WriterClosed
from thumbwheel_service.errors import Conflicting, TooMany
from thumbwheel_service.log.append import append_records


@pytest.fixture
async def writer(database: Engine) -> AsyncIterator[Writer]:
    writer = Writer(database, keyring_beside(database))
    yield writer
    await asyncio.to_thread(writer.close)


def store(name: str) -> Callable[[Session], str]:
    def unit(session: Session) -> str:
        session.execute(insert(UnstoredRow), {"completion_id": name, "tenant": "t", "created_ms": 1})
        return name

    return unit


def failing(name: str, error: BaseException) -> Callable[[Session], str]:
    def unit(session: Session) -> str:
        store(name)(session)
        raise error

    return unit


def stored(database: Engine) -> set[str]:
    with Session(database) as session:
        return set(session.execute(select(UnstoredRow.completion_id)).scalars())


class Hold:
    """Keeps the writer's thread busy, so that what is sent meanwhile becomes one group."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()

    def __call__(self, session: Session) -> None:
        self.entered.set()
        assert self.go.wait(10)


async def as_one_group(writer: Writer, units: list[Callable[[Session], Any]]) -> list[Any]:
    hold = Hold()
    first = asyncio.create_task(writer.run(hold))
    await asyncio.to_thread(hold.entered.wait, 10)
    rest = [asyncio.create_task(writer.run(unit)) for unit in units]
    await asyncio.sleep(0)
    hold.go.set()
    await first
    return await asyncio.gather(*rest, return_exceptions=True)


async def test_every_caller_gets_its_own_result(writer: Writer, database: Engine) -> None:
    names = [f"c{i}" for i in range(100)]
    assert await asyncio.gather(*[writer.run(store(name)) for name in names]) == names
    assert stored(database) == set(names)


async def test_what_the_loop_is_about_to_bring_shares_the_commit(writer: Writer) -> None:
    groups: list[int] = []
    writer.observe(lambda units, _: groups.append(units))
    for attempt in range(10):  # on a machine that is very busy a group may close before
        groups.clear()
        arrived: list[asyncio.Task[str]] = []
        for number in range(5):
            arrived.append(asyncio.create_task(writer.run(store(f"c{attempt}-{number}"))))
            await asyncio.sleep(0)
            time.sleep(0.001)  # noqa: ASYNC251 - time enough for the writer to go without the others
        await asyncio.gather(*arrived)
        assert sum(groups) == 5
        if groups[0] > 1:
            return
    raise AssertionError("every unit had a commit of its own")


async def test_a_loop_that_is_blocked_is_not_waited_for(writer: Writer, database: Engine) -> None:
    running = asyncio.create_task(writer.run(store("a")))
    await asyncio.sleep(0)
    deadline = time.monotonic() + 10
    while "a" not in stored(database):
        assert time.monotonic() < deadline
        time.sleep(0.01)  # noqa: ASYNC251 - the loop is to stand still
    assert await running == "a"


class Unheard(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError("bad"), Conflicting("no"), KeyError("k"), RuntimeError("odd")])
async def test_a_unit_that_raises_fails_alone(writer: Writer, database: Engine, error: Exception) -> None:
    results = await as_one_group(writer, [store("a"), failing("b", error), store("c")])
    assert results == ["a", error, "c"]
    assert stored(database) == {"a", "c"}


@pytest.mark.parametrize("error", [Unheard(), StopIteration(), SystemExit(1), asyncio.CancelledError()])
async def test_even_what_is_no_exception_fails_alone(writer: Writer, database: Engine, error: BaseException) -> None:
    results = await as_one_group(writer, [store("a"), failing("b", error), store("c")])
    assert [results[0], type(results[1]), results[2]] == ["a", RuntimeError, "c"]
    assert await writer.run(store("d")) == "d"
    assert stored(database) == {"a", "c", "d"}


async def test_a_violated_constraint_fails_alone(writer: Writer, database: Engine) -> None:
    await writer.run(store("a"))
    results = await as_one_group(writer, [store("b"), store("a"), store("c")])
    assert [results[0], type(results[1]), results[2]] == ["b", IntegrityError, "c"]
    assert stored(database) == {"a", "b", "c"}


async def test_a_unit_with_broken_sql_fails_alone(writer: Writer, database: Engine) -> None:
    def broken(session: Session) -> None:
        session.execute(text("SELECT * FROM nowhere"))

    results = await as_one_group(writer, [store("a"), broken, store("c")])
    assert results[0] == "a"
    assert isinstance(results[1], NotWritten | DBAPIError)
    assert results[2] == "c"
    assert stored(database) == {"a", "c"}


async def among(writer: Writer, batch: Any, names: list[str]) -> list[Any]:
    hold = Hold()
    first = asyncio.create_task(writer.run(hold))
    await asyncio.to_thread(hold.entered.wait, 10)
    rest = [asyncio.create_task(writer.run_among(batch, name)) for name in names]
    await asyncio.sleep(0)
    hold.go.set()
    await first
    return await asyncio.gather(*rest, return_exceptions=True)


async def test_items_of_a_kind_are_done_together_and_answered_in_order(writer: Writer, database: Engine) -> None:
    sizes: list[int] = []

    def batch(session: Session, names: Sequence[str]) -> list[str | Failed]:
        sizes.append(len(names))
        return [Failed(ValueError(name)) if name == "bad" else store(name)(session) for name in names]

    results = await among(writer, batch, ["a", "bad", "b"])
    assert [results[0], type(results[1]), results[2]] == ["a", ValueError, "b"]
    assert sizes == [3]
    assert stored(database) == {"a", "b"}


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(1), text("SELECT * FROM nowhere")])
async def test_a_batch_that_raises_is_done_one_by_one(writer: Writer, database: Engine, error: Any) -> None:
    sizes: list[int] = []

    def batch(session: Session, names: Sequence[str]) -> list[str]:
        sizes.append(len(names))
        done = [store(name)(session) for name in names]
        if "bad" in names:
            if isinstance(error, BaseException):
                raise error
            session.execute(error)
        return done

    results = await among(writer, batch, ["a", "bad", "b"])
    assert (results[0], results[2]) == ("a", "b")
    assert isinstance(results[1], Exception)
    assert sizes[0] == 3
    assert stored(database) == {"a", "b"}
    assert await writer.run_among(batch, "c") == "c"


async def test_units_and_batches_keep_their_order(writer: Writer, database: Engine) -> None:
    seen: list[Any] = []

    def batch(session: Session, names: Sequence[str]) -> Sequence[str]:
        seen.append(list(names))
        return names

    hold = Hold()
    first = asyncio.create_task(writer.run(hold))
    await asyncio.to_thread(hold.entered.wait, 10)
    rest = [asyncio.create_task(writer.run_among(batch, name)) for name in "ab"]
    await asyncio.sleep(0)
    rest.append(asyncio.create_task(writer.run(lambda session: seen.append("unit") or "u")))
    await asyncio.sleep(0)
    rest.append(asyncio.create_task(writer.run_among(batch, "c")))
    await asyncio.sleep(0)
    hold.go.set()
    assert await asyncio.gather(first, *rest) == [None, "a", "b", "u", "c"]
    assert seen == [["a", "b"], "unit", ["c"]]


async def test_what_a_cancelled_caller_asked_for_is_done_and_harms_nobody(writer: Writer, database: Engine) -> None:
    hold = Hold()
    first = asyncio.create_task(writer.run(hold))
    await asyncio.to_thread(hold.entered.wait, 10)
    leaving = [asyncio.create_task(writer.run(unit)) for unit in (store("a"), failing("b", ValueError()))]
    staying = asyncio.create_task(writer.run(store("c")))
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    hold.go.set()
    assert await staying == "c"
    await first
    assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*leaving, return_exceptions=True))
    assert stored(database) == {"a", "c"}


async def test_a_full_queue_is_said_to_be_full(database: Engine) -> None:
    writer = Writer(database, keyring_beside(database), capacity=2)
    hold = Hold()
    first = asyncio.create_task(writer.run(hold))
    await asyncio.to_thread(hold.entered.wait, 10)
    waiting = [asyncio.create_task(writer.run(store(name))) for name in "ab"]
    await asyncio.sleep(0)
    assert writer.depth == 2
    with pytest.raises(TooMany):
        await writer.run(store("c"))
    hold.go.set()
    await asyncio.gather(first, *waiting)
    await asyncio.to_thread(writer.close)
    assert stored(database) == {"a", "b"}


async def test_a_caller_is_told_no_in_time_and_what_waited_too_long_is_not_begun(database: Engine) -> None:
    writer = Writer(database, keyring_beside(database), patience=1.0)
    hold = Hold()
    first = asyncio.create_task(writer.run(hold))
    await asyncio.to_thread(hold.entered.wait, 10)
    began = time.monotonic()
    results = await asyncio.gather(*[writer.run(store(name)) for name in "ab"], return_exceptions=True)
    assert {type(r) for r in results} == {NotWritten}
    assert time.monotonic() - began < 5
    hold.go.set()
    assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], NotWritten)
    assert await writer.run(store("c")) == "c"
    await asyncio.to_thread(writer.close)
    assert stored(database) == {"c"}


async def test_no_content_of_what_failed_is_shown(
    writer: Writer, database: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(session: Session) -> None:
        session.execute(text("SELECT :secret FROM nowhere"), {"secret": "what ann wrote"})

    (result,) = await as_one_group(writer, [broken])
    assert isinstance(result, NotWritten | DBAPIError)
    assert "what ann wrote" not in str(result) + caplog.text


async def test_closing_finishes_what_waits_and_takes_nothing_new(database: Engine) -> None:
    writer = Writer(database, keyring_beside(database))
    waiting = [asyncio.create_task(writer.run(store(f"c{i}"))) for i in range(600)]
    await asyncio.sleep(0)
    await asyncio.to_thread(writer.close)
    await asyncio.gather(*waiting)
    assert len(stored(database)) == 600
    with pytest.raises(WriterClosed):
        await writer.run(store("late"))
    writer.close()


async def test_listeners_hear_of_commits_and_cannot_break_them(writer: Writer, database: Engine) -> None:
    heard: list[Any] = []

    def listen(notes: Any) -> None:
        heard.append(notes.get("seen"))
        raise ValueError("a listener's own trouble")

    def unit(session: Session) -> str:
        session.info["seen"] = 7
        return store("a")(session)

    writer.on_commit(listen)
    assert await writer.run(unit) == "a"
    assert await writer.run(store("b")) == "b"
    assert heard == [7, None]


async def test_a_lost_connection_tells_nobody_yes_and_the_next_write_works(writer: Writer, database: Engine) -> None:
    if database.dialect.name != "postgresql":
        pytest.skip("SQLite has no connection to lose; see the full disk in tests/unit/service/db")

    def cut(session: Session) -> None:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    results = await as_one_group(writer, [store("a"), cut, store("c")])
    assert [type(r) for r in results] == [NotWritten, NotWritten, NotWritten]
    assert stored(database) == set()
    assert await writer.run(store("d")) == "d"


async def test_two_writers_make_dense_offsets_in_commit_order(database: Engine) -> None:
    """What two replicas append is one sequence per partition: no gap, no reader ever sees a later one first."""
    other = connect(database.url.render_as_string(hide_password=False))
    writers = [Writer(database, keyring_beside(database), group=8), Writer(other, keyring_beside(other), group=8)]
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set() or len(seen) < 200:
            with Session(database) as session:
                rows = session.execute(select(LogRow.offset).where(LogRow.topic == TURNS.name, LogRow.partition == 0))
                fresh = sorted(set(rows.scalars()) - set(seen))
            assert fresh == list(range(len(seen), len(seen) + len(fresh)))
            seen.extend(fresh)

    reading = asyncio.create_task(asyncio.to_thread(read))
    keys = [key for key in map(str, range(10_000)) if partition_of(key, TURNS.partitions) == 0][:200]

    def append(i: int) -> Callable[[Session], int]:
        return lambda session: append_records(session, [NewRecord(TURNS.name, keys[i], f"e{i}", b"x")])

    await asyncio.gather(*[writers[i % 2].run(append(i)) for i in range(200)])
    done.set()
    await reading
    for writer in writers:
        await asyncio.to_thread(writer.close)
    other.dispose()
    with Session(database) as session:
        head = session.get(LogHead, (TURNS.name, 0))
        assert head is not None
        assert head.next == 200

"""What the learner says of Kafka proves of the log only what is true, whatever the relay repeats or half does."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert
from sqlmodel import Session
from tests.databases import sqlite_url
from tests.keyrings import KEYRING
from tests.unit.service.log.test_relay import MemoryBus

from thumbwheel.bus import TopicPartition
from thumbwheel.events import CONTROL
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.migrate import migrate
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.tables import LogHead, RelayRow
from thumbwheel_service.log.evidence import FromKafka, FromLog

AT = TopicPartition(CONTROL.name, 0)


class Ends:
    """A consumer that only tells where its one partition ends."""

    def __init__(self, end: int) -> None:
        self._end = end

    def ends(self) -> Mapping[TopicPartition, int]:
        return {AT: self._end}

    def close(self) -> None:
        return

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)


class Kafka(MemoryBus):
    """One partition: which row of the log lies at each offset."""

    def __init__(self, *rows: int) -> None:
        super().__init__()
        self.rows = list(rows)

    def consumer(self, topics: Sequence[str], *, group: str | None, start: Callable[[TopicPartition], int]) -> Any:
        assert group is None
        return Ends(len(self.rows))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("log")
    engine = connect(sqlite_url(folder))
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def reader(database: Engine) -> Iterator[Reader]:
    reader = Reader(database, KEYRING)
    yield reader
    reader.close()


def positions(database: Engine, *, appended: int, carried: int) -> None:
    with (
        database.connect().execution_options(writes=True) as connection,
        Session(connection) as session,
        session.begin(),
    ):
        session.execute(delete(LogHead))
        session.execute(delete(RelayRow))
        session.execute(insert(LogHead).values(topic=AT.topic, partition=0, next=appended, first=0))
        session.execute(insert(RelayRow).values(topic=AT.topic, partition=0, next=carried, epoch=0, until_ms=0))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["append", "carry", "half", "zombie", "store", "ask", "ask"]), st.integers(1, 5)),
        max_size=30,
    )
)
def test_nothing_is_proven_that_the_learner_has_not_stored(
    database: Engine, reader: Reader, steps: list[tuple[str, int]]
) -> None:
    kafka, appended, carried, stored = Kafka(), 0, 0, 0
    evidence = FromKafka(reader, kafka)
    for step, number in steps:
        match step:
            case "append":
                appended += number
            case "carry":
                upto = min(appended, carried + number)
                kafka.rows += range(carried, upto)
                carried = upto
            case "half":  # some of a load arrives, with a hole at its head, and is not acknowledged
                kafka.rows += list(range(carried, min(appended, carried + number)))[1:]
            case "zombie":  # a relay that lost its lease repeats old records
                kafka.rows += range(max(0, carried - number), carried)
            case "store":
                stored = min(len(kafka.rows), stored + number)
            case _:
                positions(database, appended=appended, carried=carried)
                known = asyncio.run(evidence.of({AT: stored}))
                assert set(range(known.stored.get(AT, 0))) <= set(kafka.rows[:stored])
                assert known.behind == (appended - carried) + (len(kafka.rows) - stored)


def test_a_learner_that_keeps_up_proves_everything_in_two_looks(database: Engine, reader: Reader) -> None:
    kafka = Kafka(0, 1, 1, 2)
    evidence = FromKafka(reader, kafka)
    positions(database, appended=3, carried=3)
    assert asyncio.run(evidence.of({AT: 4})).stored == {}
    assert asyncio.run(evidence.of({AT: 3})).stored == {}
    assert asyncio.run(evidence.of({AT: 4})).stored == {AT: 3}
    assert asyncio.run(FromKafka(reader, kafka).of({AT: 4})).stored == {}, "a new process proves anew"


def test_offsets_of_another_cluster_prove_nothing(database: Engine, reader: Reader) -> None:
    evidence = FromKafka(reader, Kafka(0, 1))
    positions(database, appended=2, carried=2)
    for _ in range(3):
        assert asyncio.run(evidence.of({AT: 900})).stored == {}


def test_a_learner_on_the_log_itself_is_taken_at_its_word(database: Engine, reader: Reader) -> None:
    positions(database, appended=9, carried=0)
    known = asyncio.run(FromLog(reader).of({AT: 4}))
    assert (known.stored, known.behind) == ({AT: 4}, 5)

"""Chats of processes that died and never come back, on both databases: lost, with their feedback told."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, select
from sqlmodel import Session
from tests.contract.service.store import events, open_turn, write
from tests.keyrings import keyring_beside

from thumbwheel.types import Thumb
from thumbwheel_service.chat.presence import Presence
from thumbwheel_service.db.tables import CompletionRow, ProcessRow
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.feedback.units import put
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.owner import Owner
from thumbwheel_service.redaction.cleared import Cleared

LEFT, RIGHT = Owner("left", "1"), Owner("right", "1")


class Clock:
    """Time of a process; the database has its own."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Process:
    """A presence, its clock and its counters."""

    def __init__(self, writer: Writer, owner: Owner, *, lease_seconds: float = 60.0) -> None:
        self.clock, self.metrics = Clock(), Metrics()
        self.presence = Presence(writer, owner, self.metrics, lease_seconds=lease_seconds, clock=self.clock)

    async def beat(self, *, after: float = 0.0) -> int:
        self.clock.now += after
        return await self.presence.beat()

    async def steady(self) -> None:
        """Has beaten for a whole lease, so that it may speak of others."""
        for _ in range(5):
            await self.beat(after=15.0)


@pytest.fixture
def writer(database: Engine) -> Iterator[Writer]:
    writer = Writer(database, keyring_beside(database))
    yield writer
    writer.close()


def chat(database: Engine, owner: Owner | None, completion_id: str = "c1", *, voted: bool = True) -> None:
    write(database, lambda s: open_turn(s, "default", completion_id, owner=None if owner is None else str(owner)))
    if voted:
        thumb = Cleared(Thumb(completion_id=completion_id, value="up", user="u"))
        write(database, lambda s: put(s, "default", thumb))


def expire(database: Engine, owner: Owner) -> None:
    def unit(session: Session) -> None:
        session.get_one(ProcessRow, str(owner)).until_ms = 0
        session.flush()

    write(database, unit)


def statuses(database: Engine) -> dict[str, str]:
    rows = write(database, lambda s: s.execute(select(CompletionRow)).scalars().all())
    return {row.completion_id: row.status for row in rows}


async def test_a_process_that_dies_for_good_leaves_no_feedback_waiting(database: Engine, writer: Writer) -> None:
    left, right = Process(writer, LEFT), Process(writer, RIGHT)
    await left.beat()
    chat(database, LEFT)
    await right.steady()
    assert (await right.beat(), statuses(database)) == (0, {"c1": "open"})
    expire(database, LEFT)
    assert write(database, events) == []
    assert await right.beat() == 1
    assert statuses(database) == {"c1": "lost"}
    assert [event.turn_status for event in write(database, events)] == ["lost"]
    assert right.metrics.registry.get_sample_value("thumbwheel_turns_lost_total") == 1
    assert [row.owner for row in write(database, lambda s: s.execute(select(ProcessRow)).scalars().all())] == [
        str(RIGHT)
    ]


async def test_living_processes_keep_their_chats(database: Engine, writer: Writer) -> None:
    left, right = Process(writer, LEFT), Process(writer, RIGHT)
    chat(database, LEFT, "c1")
    chat(database, RIGHT, "c2")
    await left.beat()
    await right.steady()
    await left.steady()
    assert statuses(database) == {"c1": "open", "c2": "open"}


async def test_a_process_that_starts_or_was_out_of_reach_waits_a_lease_before_it_speaks_of_others(
    database: Engine, writer: Writer
) -> None:
    left, right = Process(writer, LEFT), Process(writer, RIGHT)
    await left.beat()
    chat(database, LEFT)
    expire(database, LEFT)
    assert await right.beat() == 0
    assert await right.beat(after=59.0) == 0, "it has just started"
    assert await right.beat(after=61.0) == 0, "the database was out of its reach, and perhaps of the other's"
    await left.beat()
    await right.steady()
    assert statuses(database) == {"c1": "open"}


async def test_an_owner_that_never_said_it_lives_is_given_time(database: Engine, writer: Writer) -> None:
    right = Process(writer, RIGHT)
    chat(database, LEFT)
    await right.steady()
    assert statuses(database) == {"c1": "open"}
    expire(database, LEFT)
    assert await right.beat() == 1


def alive(database: Engine) -> set[str]:
    return write(database, lambda s: set(s.execute(select(ProcessRow.owner)).scalars()))


async def test_a_replica_that_starts_again_takes_the_place_of_its_last_life(database: Engine, writer: Writer) -> None:
    for owner in (LEFT, RIGHT):
        await Process(writer, owner).beat()
    again = Owner("left", "2")
    await Process(writer, again).beat()
    assert alive(database) == {str(again), str(RIGHT)}


async def test_who_leaves_in_order_is_gone_at_once(database: Engine, writer: Writer) -> None:
    left, right = Process(writer, LEFT), Process(writer, RIGHT)
    await left.steady()
    await right.beat()
    chat(database, RIGHT)
    await right.presence.leave()
    assert await left.beat(after=15.0) == 1
    assert alive(database) == {str(LEFT)}


async def test_leaving_without_a_database_is_no_failure(writer: Writer) -> None:
    process = Process(writer, LEFT)
    writer.close()
    await process.presence.leave()

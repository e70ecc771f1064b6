"""A backlog is read on while the batch before is being committed: nothing is skipped, whatever happens meanwhile."""

import random

import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus

from thumbwheel.bus import Record, TopicPartition
from thumbwheel.events import FEEDBACK, encode, wrap
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.store.examine import KNOWN_SCHEMAS
from thumbwheel_learner.store.ingest import OffsetMoved, move_offset, stored_offset
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import DeadLetterRow, FeedbackRow, TurnRow

P0, P1 = TopicPartition(FEEDBACK.name, 0), TopicPartition(FEEDBACK.name, 1)
NEWER = encode(wrap(feedback(1))).replace(b'"schema_version":1', b'"schema_version":2')


def given(engine: Engine) -> set[str]:
    with reading(engine) as session:
        return set(session.exec(select(FeedbackRow.feedback_id)).all())


def fill(bus: MemoryBus, partition: TopicPartition, numbers: range) -> None:
    for number in numbers:
        bus.append_raw(partition, f"fb-{number}", encode(wrap(feedback(number))))


def names(*numbers: int) -> set[str]:
    return {f"fb-{number}" for number in numbers}


def test_a_step_stores_what_the_one_before_read_ahead(engine: Engine) -> None:
    bus = MemoryBus(batch=3)
    fill(bus, P0, range(7))
    consumer = Consumer(engine, bus, backlog=2)
    assert consumer.step(0.0) == 3
    assert given(engine) == names(0, 1, 2)
    assert consumer.reached()[P0] == 3, "what was read ahead is not stored"
    assert [consumer.step(0.0) for _ in range(3)] == [3, 1, 0]
    assert given(engine) == names(*range(7))
    assert consumer.reached()[P0] == 7


def test_small_batches_are_not_read_on(engine: Engine) -> None:
    bus = MemoryBus(batch=3)
    fill(bus, P0, range(7))
    polls = list[int]()
    bus.deliver = lambda records: polls.append(len(records)) or records
    Consumer(engine, bus, backlog=4).step(0.0)
    assert polls == [3]


def test_another_learner_in_between_makes_this_one_start_over_with_what_it_read_ahead(engine: Engine) -> None:
    bus = MemoryBus(batch=4)
    fill(bus, P0, range(2))
    fill(bus, P1, range(10, 20))
    consumer = Consumer(engine, bus, backlog=1)
    consumer.step(0.0)
    fill(bus, P0, range(2, 5))
    with writing(engine) as session:
        move_offset(session, P1, expected=2, reached=4)
    assert consumer.step(0.0) == 0
    while consumer.step(0.0):
        pass
    assert given(engine) == names(*range(5), 10, 11, *range(14, 20))


def test_what_the_database_refuses_is_dead_lettered_alone_and_what_was_read_ahead_is_read_again(engine: Engine) -> None:
    bus = MemoryBus(batch=3)
    fill(bus, P0, range(2))
    bus.append_raw(P0, "a", encode(wrap(feedback(2, created_ms=2**63))))
    fill(bus, P0, range(3, 7))
    bus.publish(turn(1))
    consumer = Consumer(engine, bus, backlog=1)
    while consumer.step(0.0):
        pass
    assert given(engine) == names(0, 1, 3, 4, 5, 6)
    with reading(engine) as session:
        assert [row.offset for row in session.exec(select(DeadLetterRow))] == [2]
        assert len(session.exec(select(TurnRow)).all()) == 1


def test_a_partition_that_pauses_is_not_passed_by_what_was_read_ahead(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, now = MemoryBus(batch=2), [0.0]
    fill(bus, P0, range(1))
    bus.append_raw(P0, "fb-1", NEWER)
    fill(bus, P0, range(2, 9))
    consumer = Consumer(engine, bus, backlog=1, clock=lambda: now[0], retry_paused_s=10)
    consumer.step(0.0)
    now[0] = 11.0
    for _ in range(3):
        consumer.step(0.0)
    assert given(engine) == names(0)
    monkeypatch.setitem(KNOWN_SCHEMAS, "feedback_recorded", 2)
    now[0] = 22.0
    for _ in range(9):
        consumer.step(0.0)
    assert given(engine) == names(*range(9))


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_skipped_among_repeats_failures_and_other_learners(engine: Engine, seed: int) -> None:
    chance = random.Random(seed)
    bus = MemoryBus(batch=5)
    for number in range(60):
        fill(bus, (P0, P1)[chance.random() < 0.5], range(number, number + 1))

    def deliver(records: list[Record]) -> list[Record]:
        return chance.sample(records, len(records)) + records[: chance.randrange(3)]

    bus.deliver = deliver
    consumers = [Consumer(engine, bus, backlog=1) for _ in range(2)]
    for _ in range(80):
        which = chance.randrange(2)
        if chance.random() < 0.1:
            consumers[which].close()
            consumers[which] = Consumer(engine, bus, backlog=1)
        consumers[which].step(0.0)
        with reading(engine) as session:
            offsets = {at: stored_offset(session, at) for at in (P0, P1)}
        told = {record.key for at, reached in offsets.items() for record in bus.logs[at][:reached]}
        assert given(engine) == told
    for one in consumers:
        while one.step(0.0):
            pass
    assert given(engine) == names(*range(60))
    with pytest.raises(OffsetMoved), writing(engine) as session:
        move_offset(session, P0, expected=0, reached=1)

import threading
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus

from thumbwheel.bus import BusUnavailable, OffsetOutOfRange, TopicPartition, key_text
from thumbwheel.events import FEEDBACK, LearnerCommand, PolicyRouted, encode, now_ms, wrap
from thumbwheel.types import Thumb
from thumbwheel_learner.consume import Consumer, Stored, Trouble
from thumbwheel_learner.store.ingest import move_offset
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import CommandRow, DeadLetterRow, FeedbackRow, OffsetRow, PolicyRow, TurnRow

P0 = TopicPartition(FEEDBACK.name, 0)


def rows(engine: Engine, table: Any) -> list[Any]:
    with reading(engine) as session:
        return list(session.exec(select(table)).all())


def drain(consumer: Consumer) -> None:
    while consumer.step(0.0):
        pass


def test_turns_and_feedback_are_stored_with_their_offsets(engine: Engine) -> None:
    bus = MemoryBus()
    seen: list[Stored] = []
    for i in range(10):
        bus.publish(turn(i))
        bus.publish(feedback(i))
    drain(Consumer(engine, bus, on_stored=seen.append))
    assert {row.completion_id for row in rows(engine, TurnRow)} == {f"c-{i}" for i in range(10)}
    assert {row.feedback_id for row in rows(engine, FeedbackRow)} == {f"fb-{i}" for i in range(10)}
    stored = {(row.topic, row.partition): row.next for row in rows(engine, OffsetRow)}
    assert stored == {tuple(partition): len(log) for partition, log in bus.logs.items() if log}
    assert bus.reported == {partition: len(log) for partition, log in bus.logs.items() if log}
    assert seen[0].records == {"thumbwheel.turns": 10, "thumbwheel.feedback": 10}


def test_a_redelivered_old_revision_never_comes_back(engine: Engine) -> None:
    bus = MemoryBus()
    down = Thumb(completion_id="c-1", value="down")
    first = wrap(feedback(1, revision=1), event_id="e1")
    bus.publish(first)
    bus.publish(feedback(1, down, revision=2), event_id="e2")
    bus.publish(feedback(1, down, revision=3, retracted=True), event_id="e3")
    bus.publish(first)
    drain(Consumer(engine, bus))
    [row] = rows(engine, FeedbackRow)
    assert (row.revision, row.retracted, row.event_id) == (3, True, "e3")


def test_a_lost_turn_never_replaces_the_complete_one(engine: Engine) -> None:
    bus = MemoryBus()
    bus.publish(turn(1))
    drain(Consumer(engine, bus))
    bus.publish(turn(1, status="lost"))
    drain(Consumer(engine, bus))
    [row] = rows(engine, TurnRow)
    assert row.status == "complete"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"not json", "not an event"),
        (b"\xff\xfe", "not an event"),
        (b"", "not an event"),
        (encode(wrap(feedback(1))).replace(b"question 1", b"question \xff"), "not an event"),
        (b'{"event_id":"x","tenant":"t","occurred_ms":1,"event":{"type":"unheard_of"}}', "unheard_of"),
        (encode(wrap(feedback(1, revision=0))), "revision"),
        (encode(wrap(turn(1))), "does not belong"),
        (encode(wrap(feedback(1, feedback_id="a\0b"))), "NUL"),
        (b"[" * 100_000, "not an event"),
    ],
)
def test_what_breaks_the_contract_becomes_a_dead_letter_and_blocks_nothing(
    engine: Engine, value: bytes, reason: str
) -> None:
    bus = MemoryBus()
    bus.append_raw(P0, "key", value)
    after = encode(wrap(feedback(7)))
    bus.append_raw(P0, "fb-7", after)
    drain(Consumer(engine, bus))
    [letter] = rows(engine, DeadLetterRow)
    assert (letter.offset, letter.value) == (0, value)
    assert reason in letter.reason
    assert [row.feedback_id for row in rows(engine, FeedbackRow)] == ["fb-7"]


def test_a_long_reason_is_cut_and_a_key_may_be_any_bytes(engine: Engine) -> None:
    bus = MemoryBus()
    bus.append_raw(P0, key_text(b"\xff\0"), encode(wrap(feedback(1))).replace(b'"up"', b'"' + b"a" * 5000 + b'"'))
    drain(Consumer(engine, bus))
    [letter] = rows(engine, DeadLetterRow)
    assert letter.key == b"\xff\0"
    assert len(letter.reason) <= 2_001


def test_a_value_that_the_database_cannot_hold_is_dead_lettered_alone(engine: Engine) -> None:
    bus = MemoryBus()
    bus.append_raw(P0, "a", encode(wrap(feedback(1, created_ms=2**63))))
    bus.append_raw(P0, "b", encode(wrap(feedback(2))))
    bus.append_raw(P0, "c", b"nonsense")
    drain(Consumer(engine, bus))
    assert sorted(letter.offset for letter in rows(engine, DeadLetterRow)) == [0, 2]
    assert [row.feedback_id for row in rows(engine, FeedbackRow)] == ["fb-2"]
    [offset] = [row for row in rows(engine, OffsetRow) if row.topic == FEEDBACK.name]
    assert offset.next == 3


def test_a_newer_schema_pauses_its_partition_alone_and_is_read_after_the_upgrade(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, troubles, now = MemoryBus(), list[Trouble](), [0.0]
    newer = encode(wrap(feedback(1))).replace(b'"schema_version":1', b'"schema_version":2')
    assert b'"schema_version":2' in newer
    bus.append_raw(P0, "fb-0", encode(wrap(feedback(0))))
    bus.append_raw(P0, "fb-1", newer)
    bus.append_raw(P0, "fb-2", encode(wrap(feedback(2))))
    bus.publish(turn(1))
    consumer = Consumer(engine, bus, on_trouble=troubles.append, clock=lambda: now[0], retry_paused_s=10)
    drain(consumer)
    assert [row.feedback_id for row in rows(engine, FeedbackRow)] == ["fb-0"]
    assert len(rows(engine, TurnRow)) == 1
    assert [t.kind for t in troubles] == ["newer_schema"]
    bus.publish(turn(2))
    drain(consumer)
    assert len(rows(engine, TurnRow)) == 2
    now[0] = 11.0
    drain(consumer)
    assert len(troubles) == 2
    monkeypatch.setitem(
        __import__("thumbwheel_learner.store.examine", fromlist=["x"]).KNOWN_SCHEMAS, "feedback_recorded", 2
    )
    now[0] = 22.0
    drain(consumer)
    assert [row.feedback_id for row in rows(engine, FeedbackRow)] == ["fb-0", "fb-1", "fb-2"]
    assert rows(engine, DeadLetterRow) == []


def test_a_newer_schema_that_is_set_aside_is_a_dead_letter_and_holds_up_nothing(engine: Engine) -> None:
    bus, troubles = MemoryBus(), list[Trouble]()
    newer = encode(wrap(feedback(1))).replace(b'"schema_version":1', b'"schema_version":2')
    bus.append_raw(P0, "fb-1", newer)
    bus.append_raw(P0, "fb-2", encode(wrap(feedback(2))))
    drain(Consumer(engine, bus, on_trouble=troubles.append, newer_schema="set-aside"))
    [letter] = rows(engine, DeadLetterRow)
    assert (letter.value, "schema_version 2" in letter.reason) == (newer, True)
    assert [row.feedback_id for row in rows(engine, FeedbackRow)] == ["fb-2"]
    assert troubles == []


def test_a_newer_schema_that_no_longer_parses_pauses_too(engine: Engine) -> None:
    bus, troubles = MemoryBus(), list[Trouble]()
    value = msgspec.json.encode(
        {"event_id": "e", "tenant": "t", "occurred_ms": 1, "event": {"type": "feedback_recorded", "schema_version": 9}}
    )
    bus.append_raw(P0, "k", value)
    drain(Consumer(engine, bus, on_trouble=troubles.append))
    assert rows(engine, DeadLetterRow) == []
    assert [t.kind for t in troubles] == ["newer_schema"]


def test_another_learner_storing_the_same_partition_makes_this_one_start_over(engine: Engine) -> None:
    bus = MemoryBus()
    record = bus.publish(feedback(1))
    partition = TopicPartition(record.topic, record.partition)
    consumer = Consumer(engine, bus)
    consumer.step(0.0)
    bus.append_raw(partition, "fb-2", encode(wrap(feedback(2))))
    bus.append_raw(partition, "fb-3", encode(wrap(feedback(3))))
    with writing(engine) as session:
        move_offset(session, partition, expected=1, reached=2)
    assert consumer.step(0.0) == 0
    assert [row.feedback_id for row in rows(engine, FeedbackRow)] == ["fb-1"]
    assert consumer.step(0.0) == 1
    assert [row.feedback_id for row in rows(engine, FeedbackRow)] == ["fb-1", "fb-3"]


def test_an_offset_no_longer_on_the_bus_is_an_alarm_and_never_a_jump(engine: Engine) -> None:
    bus = MemoryBus()
    record = bus.publish(feedback(1))
    bus.first[TopicPartition(record.topic, record.partition)] = 1
    with pytest.raises(OffsetOutOfRange):
        Consumer(engine, bus).step(0.0)
    assert rows(engine, OffsetRow) == []


def test_the_loop_survives_an_outage_and_goes_on_where_it_was(engine: Engine) -> None:
    bus, stop, troubles = MemoryBus(), threading.Event(), list[Trouble | None]()
    bus.publish(feedback(1))
    bus.down = True

    def recover(trouble: Trouble | None) -> None:
        troubles.append(trouble)
        bus.down = False

    consumer = Consumer(engine, bus, on_trouble=recover, on_stored=lambda _: stop.set(), max_backoff_s=0.01)
    consumer.run(stop)
    assert [t and t.kind for t in troubles] == ["bus_unavailable", None]
    assert len(rows(engine, FeedbackRow)) == 1


def test_step_says_that_the_bus_is_away(engine: Engine) -> None:
    bus = MemoryBus()
    bus.down = True
    with pytest.raises(BusUnavailable):
        Consumer(engine, bus).step(0.0)


def test_a_command_delivered_twice_is_kept_once_and_the_highest_epoch_is_the_route(engine: Engine) -> None:
    bus = MemoryBus()
    command = wrap(LearnerCommand(command="now", created_ms=now_ms(), stages=["sft"]), event_id="cmd")
    bus.publish(command)
    bus.publish(command)
    for epoch in (2, 3, 1):
        bus.publish(
            PolicyRouted(version=f"v{epoch}", previous="base", epoch=epoch, reason="r", seconds=0.1, created_ms=epoch)
        )
    drain(Consumer(engine, bus))
    assert [(row.command, row.stages, row.handled) for row in rows(engine, CommandRow)] == [("now", "sft", False)]
    assert [row.version for row in rows(engine, PolicyRow)] == ["v3"]

"""A check finds every difference between the store and the bus, names it, and finds none where there is none."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, update
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus
from tests.learner_replay import DAMAGES, catch_up, checked, history

from thumbwheel.bus import BusUnavailable, Record, TopicPartition
from thumbwheel.events import FEEDBACK, POLICIES, encode, wrap
from thumbwheel_learner.replay.bounds import NotThere
from thumbwheel_learner.replay.check import rebuild
from thumbwheel_learner.replay.rebuild import Progress, ReplayStopped, offsets_of, prepare, read_up_to
from thumbwheel_learner.store.runs import open_run
from thumbwheel_learner.store.session import writing
from thumbwheel_learner.store.tables import FeedbackRow, OffsetRow, RunRow


@pytest.fixture
def bus() -> MemoryBus:
    bus = MemoryBus(batch=3)
    for envelope in history():
        bus.publish(envelope)
    return bus


def test_an_intact_store_is_equal_to_its_rebuild(engine: Engine, rebuilt: Engine, bus: MemoryBus) -> None:
    catch_up(engine, bus)
    found = checked(engine, rebuilt, bus)
    assert found.equal
    assert found.rows == {"turns": 6, "feedback": 6, "policies": 1}


@pytest.mark.parametrize(("named", "damage"), DAMAGES.items(), ids=["-".join(name) for name in DAMAGES])
def test_every_damage_is_found_and_named(
    engine: Engine, rebuilt: Engine, bus: MemoryBus, named: tuple[str, str], damage: Callable[[Engine], None]
) -> None:
    catch_up(engine, bus)
    damage(engine)
    found = checked(engine, rebuilt, bus)
    table, kind = named
    assert found.differences == {table: {kind: 1}}
    assert found.mendable
    [example] = found.examples
    assert (example.key, example.bus is not None) == (("default", "c-2" if table == "turns" else "fb-2"), True)


def test_what_only_the_store_has_is_found_too(engine: Engine, rebuilt: Engine, bus: MemoryBus) -> None:
    elsewhere = MemoryBus()
    elsewhere.publish(turn(77))
    catch_up(engine, elsewhere)
    with writing(engine) as session:
        session.connection().execute(update(OffsetRow).values(next=0))
    catch_up(engine, bus)
    with writing(engine) as session:
        session.connection().execute(update(FeedbackRow).where(FeedbackRow.feedback_id == "fb-1").values(revision=9))
    found = checked(engine, rebuilt, bus)
    assert found.differences == {"turns": {"extra": 1}, "feedback": {"newer": 1}}
    assert not found.mendable


def test_only_what_the_store_has_read_is_compared(engine: Engine, rebuilt: Engine, bus: MemoryBus) -> None:
    catch_up(engine, bus)
    bus.publish(turn(50))
    bus.publish(feedback(2, revision=9))
    found = checked(engine, rebuilt, bus)
    assert found.equal
    assert found.rows["turns"] == 6


def test_policies_that_the_store_has_not_read_are_counted_apart(
    engine: Engine, rebuilt: Engine, bus: MemoryBus
) -> None:
    catch_up(engine, bus)
    with writing(engine) as session:
        session.connection().execute(update(OffsetRow).where(OffsetRow.topic == POLICIES.name).values(next=2))
        session.connection().exec_driver_sql("DELETE FROM learner_policy")
    found = checked(engine, rebuilt, bus)
    assert (found.equal, found.unread) == (True, 1)


def test_a_learner_that_goes_on_meanwhile_is_no_difference(engine: Engine, rebuilt: Engine, bus: MemoryBus) -> None:
    catch_up(engine, bus)
    polls = [0]

    def deliver(records: list[Record]) -> list[Record]:
        polls[0] += 1
        if polls[0] == 2:
            bus.deliver = lambda records: records
            for n in range(60, 70):
                bus.publish(turn(n))
            catch_up(engine, bus)
        return records

    bus.deliver = deliver
    found = checked(engine, rebuilt, bus)
    assert found.equal
    assert found.rows["turns"] == 16


def test_a_rebuild_that_was_killed_goes_on_where_it_was(engine: Engine, rebuilt: Engine, bus: MemoryBus) -> None:
    catch_up(engine, bus)

    def die(progress: Progress) -> None:
        if progress.done > progress.total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(rebuilt, bus, die)
    half = offsets_of(rebuilt)
    assert 0 < sum(half.values()) < sum(offsets_of(engine).values())
    assert prepare(rebuilt, fresh=False)
    starts: list[Progress] = []
    rebuild(rebuilt, bus, starts.append)
    assert starts[0].done >= sum(half.values())
    assert checked(engine, rebuilt, bus).equal


def test_a_fresh_rebuild_begins_at_the_beginning(rebuilt: Engine, bus: MemoryBus) -> None:
    rebuild(rebuilt, bus, lambda _: None)
    assert not prepare(rebuilt, fresh=True)
    assert offsets_of(rebuilt) == {}


def test_a_learners_own_store_is_never_rebuilt_into(engine: Engine) -> None:
    run = RunRow(
        run_id="r", state="published", stage="ppo", stages="ppo", trigger="now", parent="base", base="f", frozen_ms=1,
        started_ms=1,
    )  # fmt: skip
    open_run(engine, run)
    for fresh in (True, False):
        with pytest.raises(ReplayStopped, match="training runs"):
            prepare(engine, fresh=fresh)


def test_a_pruned_bus_says_what_is_missing(engine: Engine, rebuilt: Engine, bus: MemoryBus) -> None:
    catch_up(engine, bus)
    at = next(at for at, log in bus.logs.items() if at.topic == FEEDBACK.name and len(log) > 1)
    bus.first[at] = 1
    with pytest.raises(NotThere, match=rf"{at.topic}/{at.partition}: asked for 0, begins at 1"):
        checked(engine, rebuilt, bus)


def test_a_store_beyond_the_end_of_the_bus_is_an_alarm(engine: Engine, rebuilt: Engine, bus: MemoryBus) -> None:
    catch_up(engine, bus)
    with pytest.raises(NotThere, match="read further than this bus reaches"):
        checked(engine, rebuilt, MemoryBus())


def test_a_rebuild_that_is_ahead_of_the_store_is_not_compared(engine: Engine, rebuilt: Engine, bus: MemoryBus) -> None:
    catch_up(rebuilt, bus)
    with pytest.raises(ReplayStopped, match="--fresh"):
        checked(engine, rebuilt, bus)


def test_an_event_of_a_newer_version_stops_it(rebuilt: Engine, bus: MemoryBus) -> None:
    newer = encode(wrap(feedback(1))).replace(b'"schema_version":1', b'"schema_version":2')
    bus.append_raw(TopicPartition(FEEDBACK.name, 0), "fb-1", newer)
    with pytest.raises(ReplayStopped, match="upgrade this learner"):
        rebuild(rebuilt, bus, lambda _: None)


def test_an_outage_is_waited_out_and_one_without_end_is_told(rebuilt: Engine, bus: MemoryBus) -> None:
    waiting: list[str] = []

    def watch(progress: Progress) -> None:
        waiting.append(progress.waiting)
        bus.down = len(waiting) == 1

    read_up_to(rebuilt, bus, {at: len(log) for at, log in bus.logs.items()}, watch, patience_s=5)
    assert "the bus is down" in waiting
    bus.down = True
    with pytest.raises(BusUnavailable):
        read_up_to(rebuilt, bus, {TopicPartition(FEEDBACK.name, 0): 99}, patience_s=0)

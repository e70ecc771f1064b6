"""Offsets go back as far as the bus reaches, never over anything, and what is read again mends what was damaged."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.learner_fakes import MemoryBus
from tests.learner_replay import DAMAGES, catch_up, checked, history
from tests.unit.learner.test_consume_replay import contents

from thumbwheel.bus import TopicPartition
from thumbwheel.events import TURNS
from thumbwheel_learner.replay.bounds import NotThere
from thumbwheel_learner.replay.rebuild import offsets_of
from thumbwheel_learner.replay.rewind import RewindRefused, rewind
from thumbwheel_learner.store.runs import label_counts
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import FeedbackRow, TurnRow


@pytest.fixture
def bus(engine: Engine) -> MemoryBus:
    """All of it stored already."""
    bus = MemoryBus(batch=3)
    for envelope in history(12):
        bus.publish(envelope)
    catch_up(engine, bus)
    return bus


def at_turns(bus: MemoryBus, longest: int = 2) -> TopicPartition:
    return next(at for at, log in sorted(bus.logs.items()) if at.topic == TURNS.name and len(log) >= longest)


def stored_at(engine: Engine) -> list[int]:
    with reading(engine) as session:
        return sorted([*session.exec(select(TurnRow.stored_ms)), *session.exec(select(FeedbackRow.stored_ms))])


@pytest.mark.parametrize("words", [["beginning"], ["oldest"]])
def test_an_intact_store_that_is_read_again_stays_as_it_was(engine: Engine, bus: MemoryBus, words: list[str]) -> None:
    before = contents(engine), offsets_of(engine), stored_at(engine), label_counts(engine)
    moved = rewind(engine, bus, words)
    assert {move.at for move in moved} == {at for at, log in bus.logs.items() if log}
    assert set(offsets_of(engine).values()) == {0}
    catch_up(engine, bus)
    assert (contents(engine), offsets_of(engine), stored_at(engine), label_counts(engine)) == before


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=["-".join(name) for name in DAMAGES])
def test_a_damaged_store_is_mended(
    engine: Engine, rebuilt: Engine, bus: MemoryBus, damage: Callable[[Engine], None]
) -> None:
    damage(engine)
    rewind(engine, bus, ["beginning"])
    catch_up(engine, bus)
    assert checked(engine, rebuilt, bus).equal


def test_one_partition_goes_back_alone(engine: Engine, bus: MemoryBus) -> None:
    at, before = at_turns(bus), offsets_of(engine)
    [moved] = rewind(engine, bus, [f"turns/{at.partition}/1"])
    assert moved == (at, before[at], 1)
    assert offsets_of(engine) == {**before, at: 1}
    assert rewind(engine, bus, [f"{at.topic}/{at.partition}/1"]) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["turns/0/999999"], "would skip"),
        (["turns/9/0"], "has the partitions 0 to 3"),
        (["turns/0"], "TOPIC/PARTITION/OFFSET"),
        (["turns/0/-1"], "TOPIC/PARTITION/OFFSET"),
        (["thumbwheel.learner/0/0"], "the learner reads"),
        (["beginning", "turns/0/0"], "name nothing beside"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    engine: Engine, bus: MemoryBus, words: list[str], message: str
) -> None:
    before = offsets_of(engine)
    with pytest.raises(RewindRefused, match=message):
        rewind(engine, bus, words)
    assert offsets_of(engine) == before


def test_a_pruned_bus_says_from_where_and_the_oldest_is_that(engine: Engine, bus: MemoryBus) -> None:
    at = at_turns(bus)
    bus.first[at] = 1
    for words in (["beginning"], [f"turns/{at.partition}/0"]):
        with pytest.raises(NotThere, match=rf"{at.topic}/{at.partition}: asked for 0, begins at 1.*--from oldest"):
            rewind(engine, bus, words)
    rewind(engine, bus, ["oldest"])
    assert offsets_of(engine)[at] == 1


def test_a_store_from_before_the_beginning_of_the_bus_can_go_on_from_there(engine: Engine, bus: MemoryBus) -> None:
    at = at_turns(bus)
    rewind(engine, bus, ["beginning"])
    bus.first[at] = 1
    moved = {move.at: move for move in rewind(engine, bus, ["oldest"])}
    assert (moved[at].before, moved[at].after) == (0, 1)
    catch_up(engine, bus)

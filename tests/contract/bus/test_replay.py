"""The learner's store from either bus: rebuilt, compared, read again, and what a pruned bus says."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.contract.bus.conftest import Arena
from tests.databases import learner_store
from tests.learner_replay import DAMAGES, checked, history

from thumbwheel.bus import EventBus, NewRecord
from thumbwheel.events import FEEDBACK, POLICIES, TURNS, encode, topic_and_key
from thumbwheel_learner.replay.bounds import NotThere, span_of
from thumbwheel_learner.replay.check import rebuild
from thumbwheel_learner.replay.compare import Comparison
from thumbwheel_learner.replay.rebuild import offsets_of, read_up_to
from thumbwheel_learner.replay.rewind import rewind


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[Engine]]:
    folder = tmp_path / "stores"
    folder.mkdir()
    with ExitStack() as stack:
        yield [stack.enter_context(learner_store(folder / name)) for name in ("store.db", "one.db", "two.db")]


def test_a_store_is_rebuilt_from_the_bus_and_mended_by_it(arena: Arena, engines: list[Engine]) -> None:
    store, first, second = engines
    with arena.bus() as bus:
        bus.append(records())
        read(store, bus)
        assert checked(store, first, bus) == Comparison(rows={"turns": 6, "feedback": 6, "policies": 1})
        bus.append([record for record in records()[:8] if record.topic != POLICIES.name])
        DAMAGES["turns", "altered"](store)
        assert checked(store, first, bus).differences == {"turns": {"altered": 1}}
        moved = rewind(store, bus, ["beginning"])
        assert {move.after for move in moved} == {0}
        read(store, bus)
        assert checked(store, second, bus).equal


def test_a_pruned_bus_gives_no_rebuild_and_is_read_again_from_where_it_begins(
    arena: Arena, engines: list[Engine]
) -> None:
    store, first, _ = engines
    with arena.bus() as bus:
        bus.append(records())
        read(store, bus)
        at = next(at for at, end in sorted(offsets_of(store).items()) if at.topic == TURNS.name and end > 1)
        arena.trim(*at, 1)
        with pytest.raises(NotThere, match=f"{at.topic}/{at.partition}: asked for 0, begins at 1"):
            rebuild(first, bus, lambda progress: None)
        assert {move.at: move.after for move in rewind(store, bus, ["oldest"])}[at] == 1
        read(store, bus)
    assert offsets_of(store)[at] > 1


def read(engine: Engine, bus: EventBus) -> None:
    """To the end, wherever the store stands."""
    read_up_to(engine, bus, span_of(bus).ends)


def records() -> list[NewRecord]:
    found: list[NewRecord] = []
    for envelope in history():
        topic, key = topic_and_key(envelope.event)
        found.append(NewRecord(topic.name, key, envelope.event_id, encode(envelope)))
    assert {record.topic for record in found} > {TURNS.name, FEEDBACK.name}
    return found

"""From a poisoned record to its mended replay in the learner's store, on each bus."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.contract.bus.conftest import Arena
from tests.databases import learner_store
from tests.learner_events import feedback

from thumbwheel.bus import EventBus, NewRecord
from thumbwheel.cli import main
from thumbwheel.dead_letters import read_letters
from thumbwheel.events import FEEDBACK, encode, topic_and_key, wrap
from thumbwheel_learner.announce import LARGEST, Announcer
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import FeedbackRow

Output = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    with learner_store(tmp_path / "learner.db") as engine:
        yield engine


@pytest.fixture
def command(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name, value in arena.environment.items():
        monkeypatch.setenv(name, value)
    return ["dead-letters", *arena.arguments]


def learn(store: Engine, bus: EventBus, stored: int) -> None:
    """Read until so many records, good or bad, are in the store; then announce the bad ones."""
    consumer, done = Consumer(store, bus), 0
    for _ in range(60):
        done += consumer.step(0.5)
        if done >= stored:
            break
    consumer.close()
    announcer = Announcer(store, bus)
    while announcer.announce():
        pass


def feedback_ids(store: Engine) -> list[str]:
    with reading(store) as session:
        return sorted(row.feedback_id for row in session.exec(select(FeedbackRow)).all())


def test_a_poisoned_record_is_found_shown_mended_and_stored(
    arena: Arena, command: list[str], store: Engine, tmp_path: Path, capsys: Output
) -> None:
    good = encode(wrap(feedback(1), event_id="ev-1"))
    broken = good[:-9] + b"\x1b\xff"
    with arena.bus() as bus:
        bus.append([NewRecord(FEEDBACK.name, "fb-1", "log-1", broken), record(2)])
        learn(store, bus, 2)
        assert feedback_ids(store) == ["fb-2"]
        [name] = read_letters(bus)

        assert main(command) == 0
        assert name in capsys.readouterr().out
        assert main([*command, "show", name, "--raw", str(tmp_path / "raw")]) == 0
        assert (tmp_path / "raw").read_bytes() == broken
        (tmp_path / "mended.json").write_bytes(good)
        assert main([*command, "replay", name, "--yes", "--value", str(tmp_path / "mended.json")]) == 0
        learn(store, bus, 1)
        assert feedback_ids(store) == ["fb-1", "fb-2"]

        assert main([*command, "replay", name, "--yes"]) == 0
        learn(store, bus, 1)
        capsys.readouterr()
        assert main([*command, "list", "--json"]) == 0
        [again] = json.loads(capsys.readouterr().out)
        assert again["id"] != name, "bad as it was, it is a new letter at its new offset"
        assert read_letters(bus)[name].state == "replayed"


def test_the_largest_letter_travels_whole_and_a_larger_one_cut(
    arena: Arena, command: list[str], store: Engine, capsys: Output
) -> None:
    if not arena.takes_large:
        pytest.skip("this broker keeps too little")
    with arena.bus() as bus:
        bus.append([NewRecord(FEEDBACK.name, "a", "log-1", b"\xff" * LARGEST)])
        bus.append([NewRecord(FEEDBACK.name, "a", "log-2", b"\xff" * (LARGEST + 1))])
        learn(store, bus, 2)
        whole, cut = read_letters(bus).values()
    assert (whole.record.whole, len(whole.record.value)) == (True, LARGEST)
    assert (cut.record.whole, len(cut.record.value), cut.record.size) == (False, LARGEST, LARGEST + 1)
    assert main([*command, "replay", "--all", "--yes"]) == 1
    said = capsys.readouterr()
    assert f"replayed {whole.id}" in said.out
    assert f"not replayed: {cut.id}" in said.err


def record(number: int) -> NewRecord:
    envelope = wrap(feedback(number))
    topic, key = topic_and_key(envelope.event)
    return NewRecord(topic.name, key, envelope.event_id, encode(envelope))

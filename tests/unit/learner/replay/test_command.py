"""`thumbwheel replay` as typed, on a bus over HTTP."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus
from tests.learner_replay import DAMAGES, catch_up, history

from thumbwheel.cli import main
from thumbwheel_learner.lock import exclusive
from thumbwheel_learner.replay import command

Output = pytest.CaptureFixture[str]


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryBus:
    """The bus that the commands find, and what they find it by."""
    bus = MemoryBus()
    monkeypatch.setenv("THUMBWHEEL_DATA", str(tmp_path))
    monkeypatch.setattr(command, "open_bus", lambda settings: bus)
    for envelope in history():
        bus.publish(envelope)
    return bus


@pytest.fixture
def store(bus: MemoryBus, engine: Engine) -> Engine:
    catch_up(engine, bus)
    return engine


def test_an_equal_store_leaves_nothing_behind(store: Engine, tmp_path: Path, capsys: Output) -> None:
    assert main(["replay", "check"]) == 0
    said = capsys.readouterr().out
    assert "6 turns, 6 feedback, 1 policies" in said
    assert "equal: the store says what the bus says" in said
    assert list(tmp_path.glob("replay.db*")) == []


def test_differences_are_told_with_what_to_do(store: Engine, tmp_path: Path, capsys: Output) -> None:
    DAMAGES["turns", "missing"](store)
    assert main(["replay", "check"]) == 1
    said = capsys.readouterr().out
    assert "DIFFERENT turns: 1 missing" in said
    assert "turns default c-2: missing; store –, bus t-2 r3" in said
    assert "thumbwheel replay rewind --from beginning" in said
    assert (tmp_path / "replay.db").exists()
    assert main(["replay", "rewind", "--from", "beginning"]) == 0
    assert "records will be read again" in capsys.readouterr().out


def test_a_check_as_json_into_a_database_of_ones_own(store: Engine, tmp_path: Path, capsys: Output) -> None:
    url = f"sqlite:///{tmp_path / 'mine.db'}"
    for _ in range(2):
        assert main(["replay", "check", "--into", url, "--json"]) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out)["equal"] is True
    assert "going on with" in captured.err


def test_a_lost_store_is_rebuilt_without_a_verdict(bus: MemoryBus, tmp_path: Path, capsys: Output) -> None:
    assert main(["replay", "check"]) == 1
    assert "no store to compare with" in capsys.readouterr().err
    assert not (tmp_path / "learner.db").exists()
    assert main(["replay", "rewind", "--from", "oldest"]) == 1


def test_a_running_learner_is_not_rewound(store: Engine, tmp_path: Path, capsys: Output) -> None:
    with exclusive(tmp_path):
        assert main(["replay", "rewind", "--from", "beginning"]) == 1
    assert "stop it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("into", "message"),
    [("sqlite:///:memory:", "must name a database"), ("mysql://x", "must name"), ("sqlite:///{}", "own store")],
)
def test_a_wrong_target_is_refused(store: Engine, tmp_path: Path, capsys: Output, into: str, message: str) -> None:
    assert main(["replay", "check", "--into", into.format(tmp_path / "learner.db")]) == 2
    assert message in capsys.readouterr().err


def test_a_bus_that_forgot_says_so(store: Engine, bus: MemoryBus, capsys: Output) -> None:
    bus.publish(turn(99))
    bus.publish(feedback(99))
    bus.first.update(dict.fromkeys([at for at, log in bus.logs.items() if len(log) > 1], 1))
    assert main(["replay", "check"]) == 1
    assert "begins at 1" in capsys.readouterr().err


def test_help_says_what_it_is_for(capsys: Output) -> None:
    for words in (["replay", "--help"], ["replay", "check", "--help"], ["replay", "rewind", "--help"]):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0
    said = capsys.readouterr().out
    assert "mended" in said
    assert "Exit status 0" in said
    assert "Stop the learner first" in said

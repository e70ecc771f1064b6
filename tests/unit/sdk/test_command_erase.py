"""`thumbwheel erase`: asks first, says what went, waits for the learner if told to."""

import json

import pytest
from tests.unit.sdk.desk import Desk

from thumbwheel.cli import main

Output = pytest.CaptureFixture[str]


def say(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setattr("builtins.input", lambda _: word)


@pytest.mark.parametrize("word", ["", "n", "nope"])
def test_nobody_is_erased_without_a_yes(desk: Desk, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    say(monkeypatch, word)
    assert main(["erase", "ann"]) == 1
    assert desk.erased == []


def test_it_says_what_went_and_by_when_the_rest(desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    say(monkeypatch, "y")
    assert main(["erase", "ann"]) == 0
    said = capsys.readouterr().out
    assert desk.erased == ["ann"]
    assert "3 turns, 2 pieces of feedback; their keys: destroyed" in said
    assert "has not followed yet" in said


def test_it_waits_for_the_versions_that_are_affected(desk: Desk, capsys: Output) -> None:
    assert main(["erase", "--conversation", "conv-1", "--yes", "--wait", "5"]) == 0
    said = capsys.readouterr().out
    assert desk.erased == ["conv-1"]
    assert "affected  p-2: 25.00% of its data (5 examples), and of an ancestor's" in said


def test_a_user_and_a_conversation_are_two_things(desk: Desk, capsys: Output) -> None:
    assert main(["erase", "ann", "--conversation", "conv-1", "--yes"]) == 2
    assert "not both" in capsys.readouterr().err


def test_without_a_name_it_lists(desk: Desk, capsys: Output) -> None:
    assert main(["erase"]) == 0
    assert "nobody has been erased" in capsys.readouterr().out
    desk.erased.append("ann")
    assert main(["erase"]) == 0
    assert "er-1  complete" in capsys.readouterr().out
    assert main(["erase", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["erasures"][0]["turns"] == 3


def test_json_of_one(desk: Desk, capsys: Output) -> None:
    assert main(["erase", "ann", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "erased"

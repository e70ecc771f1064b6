"""`thumbwheel import`: every line is sent once or accounted for."""

import json
from pathlib import Path

import pytest
from tests.unit.sdk.desk import Desk

from thumbwheel.cli import main

Output = pytest.CaptureFixture[str]


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def row(i: int) -> dict[str, str]:
    return {"prompt": f"question {i}", "chosen": f"good {i}", "rejected": f"bad {i}"}


def summary(*arguments: str | Path, capsys: Output) -> tuple[int, dict[str, object]]:
    status = main(["import", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_pair_becomes_a_turn_with_two_answers_and_a_comparison(desk: Desk, tmp_path: Path, capsys: Output) -> None:
    status, told = summary(write(tmp_path / "f.jsonl", {**row(1), "user": "judge-7"}), capsys=capsys)
    assert (status, told["imported"]) == (0, 1)
    (turn,) = desk.turns.values()
    assert turn["messages"] == [{"role": "user", "content": "question 1"}]
    assert turn["answers"] == ["good 1", "bad 1"]
    (comparison,) = desk.feedback
    assert comparison["completion_id"] == comparison["other_completion_id"] == turn["completion_id"]
    assert comparison["other_choice"] == 1
    assert (comparison["kind"], comparison["value"], comparison["user"]) == ("comparison", "this", "judge-7")


def test_running_it_again_doubles_nothing(desk: Desk, tmp_path: Path, capsys: Output) -> None:
    path = write(tmp_path / "f.jsonl", *[row(i) for i in range(30)])
    summary(path, capsys=capsys)
    status, told = summary(path, capsys=capsys)
    assert (status, told["imported"], told["already_there"]) == (0, 0, 30)
    assert len(desk.turns) == len(desk.feedback) == 30


def test_an_import_that_was_cut_short_is_completed(desk: Desk, tmp_path: Path, capsys: Output) -> None:
    summary(write(tmp_path / "f.jsonl", *[row(i) for i in range(10)]), capsys=capsys)
    del desk.feedback[5:]
    status, told = summary(tmp_path / "f.jsonl", capsys=capsys)
    assert (status, told["imported"], told["already_there"]) == (0, 5, 5)
    assert len(desk.feedback) == 10


def test_every_line_is_counted_once(desk: Desk, tmp_path: Path, capsys: Output) -> None:
    desk.refuse_text = "question 3"
    path = write(tmp_path / "f.jsonl", row(1), "{", row(1), row(2), "", row(3), {"chosen": "x", "rejected": "y"})
    status, told = summary(path, "--concurrency", "3", capsys=capsys)
    assert status == 0
    counts = {name: told[name] for name in ("imported", "repeated", "malformed", "refused", "already_there")}
    assert counts == {"imported": 2, "repeated": 1, "malformed": 2, "refused": 1, "already_there": 0}
    problems = told["problems"]
    assert isinstance(problems, list)
    assert [problem["line"] for problem in problems] == [2, 6, 7]
    assert "too long" in problems[1]["reason"]


def test_problems_are_listed_for_people_too(desk: Desk, tmp_path: Path, capsys: Output) -> None:
    assert main(["import", str(write(tmp_path / "f.jsonl", row(1), "{"))]) == 0
    said = capsys.readouterr()
    assert "line 2: not JSON" in said.err
    assert "1 imported, 0 already there, 0 repeated, 1 malformed, 0 refused" in said.out


def test_a_long_list_of_problems_is_shortened_with_a_word(desk: Desk, tmp_path: Path, capsys: Output) -> None:
    main(["import", str(write(tmp_path / "f.jsonl", *["{"] * 60))])
    said = capsys.readouterr().err
    assert said.count("not JSON") == 50
    assert "10 more" in said


def test_nothing_imported_is_a_failure(desk: Desk, tmp_path: Path, capsys: Output) -> None:
    assert summary(write(tmp_path / "f.jsonl", "{"), capsys=capsys)[0] == 1
    assert summary(write(tmp_path / "e.jsonl", ""), capsys=capsys)[0] == 1


def test_a_service_that_refuses_us_stops_the_import(desk: Desk, tmp_path: Path, capsys: Output) -> None:
    desk.key = "tw-key"
    status, told = summary(write(tmp_path / "f.jsonl", *[row(i) for i in range(200)]), capsys=capsys)
    assert status == 1
    assert "key" in str(told["stopped"])
    assert len(desk.asked) <= 16


def test_a_file_that_is_not_there(tmp_path: Path, capsys: Output) -> None:
    assert main(["import", str(tmp_path / "none")]) == 1
    assert "cannot read" in capsys.readouterr().err


def test_one_at_a_time_at_least(tmp_path: Path, capsys: Output) -> None:
    assert main(["import", str(tmp_path / "f"), "--concurrency", "0"]) == 2

"""`thumbwheel export` from a real service: what was said comes out, filtered, whole, and in the same order again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.bus.live_service import LiveService
from tests.contract.service.store import open_turn, write

from thumbwheel import Client
from thumbwheel.cli import main
from thumbwheel.events import DEFAULT_TENANT
from thumbwheel_service.db.engine import connect

Output = pytest.CaptureFixture[str]
ASKED = [{"role": "user", "content": "Where is it?"}]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service where ann, bob and a script judged three turns."""
    data = tmp_path_factory.mktemp("export")
    live = LiveService(data)
    live.start()
    database = connect(f"sqlite:///{data / 'service.db'}")
    write(database, lambda s: open_turn(s, DEFAULT_TENANT, "live"))
    database.dispose()
    with Client(live.url) as client:
        for i in range(3):
            client.turns.create(ASKED, [f"Here {i}.", "Gone."], completion_id=f"c{i}", conversation_id="v", user="kim")
        give = client.feedback
        give.comparison("c0", "this", other_completion_id="c0", other_choice=1, user="ann")
        give.comparison("c0", "other", other_completion_id="c1", user="bob")
        give.comparison("c1", "tie", other_text="x", user="ann")
        give.comparison("c2", "this", other_text="Never.", source="llm")
        give.correction("c2", "Soon.", user="ann")
        give.retract(give.correction("c2", "No.", user="bob").feedback_id)
        give.thumb("c1", "down", user="ann", reasons=["incomplete"])
        give.thumb("live", "up", user="bob")
        give.demonstration("Hi", "Hello.")
    yield live
    live.stop()


@pytest.fixture(autouse=True)
def at_home(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBWHEEL_URL", service.url)


def export(*arguments: str | Path) -> list[dict[str, Any]]:
    """The rows of an export to a file of its own."""
    out = next(Path(a) for a, flag in zip(arguments[1:], arguments, strict=False) if flag == "--out")
    assert main(["export", *map(str, arguments)]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_preferences_are_what_people_preferred(tmp_path: Path, capsys: Output) -> None:
    rows = export("preferences", "--out", tmp_path / "pairs.jsonl")
    said = {(row["chosen"][0]["content"], row["rejected"][0]["content"], row["user"]) for row in rows}
    assert said == {("Here 0.", "Gone.", "ann"), ("Here 1.", "Here 0.", "bob"), ("Soon.", "Here 2.", "ann")}
    assert all(row["prompt"] == ASKED for row in rows)
    assert [row["created_ms"] for row in rows] == sorted((row["created_ms"] for row in rows), reverse=True)
    assert "3 preferences written; left out: " in (told := capsys.readouterr().out)
    for reason in ("1 retracted", "1 source llm", "1 tie"):
        assert reason in told


def test_the_same_export_again_is_the_same_file(tmp_path: Path) -> None:
    for what in ("preferences", "thumbs", "corrections", "turns"):
        for name in ("one", "two"):
            export(what, "--out", tmp_path / name)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_filters_and_sources_narrow(tmp_path: Path, capsys: Output) -> None:
    out = ("--out", tmp_path / "rows")
    assert [row["user"] for row in export("preferences", *out, "--user", "bob")] == ["bob"]
    assert [row["source"] for row in export("preferences", *out, "--source", "llm")] == ["llm"]
    assert len(export("preferences", *out, "--source", "any")) == 4
    assert export("preferences", *out, "--policy-version", "p-9") == []
    assert export("preferences", *out, "--until", "2026-01-01") == []
    assert len(export("preferences", *out, "--conversation", "v", "--since", "2026-01-01T00:00:00+02:00")) == 3


def test_thumbs_corrections_and_turns(tmp_path: Path, capsys: Output) -> None:
    (thumb,) = export("thumbs", "--out", tmp_path / "thumbs")
    assert (thumb["completion"][0]["content"], thumb["label"], thumb["reasons"]) == ("Here 1.", False, "incomplete")
    assert "1 still being answered" in capsys.readouterr().out
    shown, corrected = sorted(export("corrections", "--out", tmp_path / "sft"), key=lambda row: row["kind"])[::-1]
    assert (shown["prompt"][0]["content"], shown["completion"][0]["content"]) == ("Hi", "Hello.")
    assert corrected["completion"][0]["content"] == "Soon."
    turns = export("turns", "--out", tmp_path / "turns", "--user", "kim")
    assert [turn["completion_id"] for turn in turns] == ["c2", "c1", "c0"]
    assert [f["kind"] for f in turns[2]["feedback"]] == ["comparison", "comparison"]
    assert [c["text"] for c in turns[0]["choices"]] == ["Here 2.", "Gone."]


def test_the_standard_output_holds_rows_and_nothing_else(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["export", "corrections", "--out", "-"]) == 0
    told = capfdbinary.readouterr()
    assert {json.loads(line)["kind"] for line in told.out.splitlines()} == {"demonstration", "correction"}
    assert b"2 corrections written; left out: 1 retracted" in told.err


def test_an_export_can_be_imported_again(tmp_path: Path, capsys: Output) -> None:
    exported = export("preferences", "--out", tmp_path / "pairs.jsonl")
    capsys.readouterr()
    other = LiveService(tmp_path / "other")
    other.start()
    try:
        for known in (0, 3):
            assert main(["import", str(tmp_path / "pairs.jsonl"), "--url", other.url, "--json"]) == 0
            told = json.loads(capsys.readouterr().out)
            assert (told["imported"], told["already_there"], told["problems"]) == (3 - known, known, [])
        again = export("preferences", "--out", tmp_path / "again.jsonl", "--url", other.url)
    finally:
        other.stop()
    same = ("prompt", "chosen", "rejected", "user")
    assert sorted(json.dumps([row[name] for name in same]) for row in again) == sorted(
        json.dumps([row[name] for name in same]) for row in exported
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["preferences", "--out", "-", "--format", "parquet"], "Parquet needs a file"),
        (["turns", "--out", "x", "--source", "llm"], "turns have none"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_read(arguments: list[str], said: str, capsys: Output) -> None:
    assert main(["export", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--since", "yesterday"], ["--until", "2026-01-01T00:00:00"], ["--source", "cat"]])
def test_a_wrong_filter_is_refused(option: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["export", "thumbs", "--out", "x", *option])
    assert option[0] in capsys.readouterr().err

"""The whole wheel for real, one short turn of it: `thumbwheel demo` as a user calls it, and what it leaves behind."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.keyrings import opened

from thumbwheel import events
from thumbwheel.artifact import Manifest
from thumbwheel.events import FeedbackRecorded, PolicyRouted
from thumbwheel_demo.report.record import Report, read_report
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.key_store import SqlKeyStore

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]
SMALL = {
    "THUMBWHEEL_MIN_LABELS": "50",
    "THUMBWHEEL_PPO_ITERATIONS": "10",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished run in it."""
    folder = tmp_path_factory.mktemp("demo")
    command = [
        sys.executable, "-m", "thumbwheel.cli", "demo", "--out", str(folder), "--seed", "7", "--turns", "1",
        "--chats", "800", "--votes", "0.6", "--corrections", "0.4", "--background", "4",
        "--heldout", "60", "--answers", "1",
        *(part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=540)
    log = folder / "desk.log"
    said = log.read_text(errors="replace")[-4000:] if log.exists() else ""
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}\n{said}"
    return folder


@pytest.fixture(scope="module")
def report(out: Path) -> Report:
    return read_report(out / "report.json")


def _events(out: Path, topic: str) -> list[events.Event]:
    """The service's log, in order, read after everything has stopped."""
    with closing(sqlite3.connect(f"file:{out / 'data' / 'service.db'}?mode=ro", uri=True)) as database:
        rows = database.execute(
            'SELECT value FROM log WHERE topic = ? ORDER BY partition, "offset"', (topic,)
        ).fetchall()
    store = SqlKeyStore(connect(f"sqlite:///{out / 'data' / 'keys.db'}"))
    try:
        return [opened(value, store) for (value,) in rows]
    finally:
        store.close()


def test_the_wheel_turned_and_swapped_under_live_load(report: Report):
    [swap] = report.swaps
    assert swap.previous == "base"
    assert 0 < swap.seconds < 5
    assert [gate.accepted for gate in report.gates] == [True]
    assert report.chats.by_version["base"] > 0
    assert report.chats.by_version[swap.version] > 60, "people went on chatting after the swap"


def test_no_chat_was_lost_or_cut(report: Report):
    assert report.chats.total > 600
    assert report.chats.streamed > 100
    assert (report.chats.lost, report.chats.truncated, report.chats.errors) == (0, 0, {})


def test_the_report_measures_base_and_version_on_the_same_prompts(out: Path, report: Report):
    assert [v.version for v in report.versions] == ["base", report.swaps[0].version]
    assert all(0 <= v.satisfaction.low <= v.satisfaction.mean <= v.satisfaction.high <= 1 for v in report.versions)
    assert report.versions[1].kl is not None
    assert report.versions[1].kl > 0
    assert report.reward_model["accuracy"] is not None
    assert report.reward_model["calibration"]
    assert report.versions[1].gain.mean > 0
    assert "The wheel turns" in (out / "report.html").read_text()


def test_every_vote_names_the_version_that_gave_the_answer(out: Path, report: Report):
    given = [e for e in _events(out, events.FEEDBACK.name) if isinstance(e, FeedbackRecorded)]
    assert len(given) == sum(report.feedback.values())
    assert {e.policy_version for e in given} == {"base", report.swaps[0].version}
    assert all(e.answer and e.messages for e in given)


def test_the_version_names_its_parent_its_data_and_its_judgement(out: Path, report: Report):
    [swap] = report.swaps
    manifest = json.loads(next((out / "data" / "artifacts").rglob(f"{swap.version}/manifest.json")).read_bytes())
    assert manifest["parent"] == "base"
    assert set(Manifest.__struct_fields__) >= set(manifest)
    assert manifest["verdict"]["accepted"]
    counts = manifest["snapshot"]["counts"]
    assert counts["judged"] > 0
    assert counts["corrections"] > 0
    listed = out / "data" / manifest["snapshot"]["events"]
    assert listed.exists(), "the manifest says where the ids of its events are listed"


def test_the_route_moved_once_and_says_so_on_the_bus(out: Path, report: Report):
    moved = [e for e in _events(out, events.POLICIES.name) if isinstance(e, PolicyRouted)]
    assert [(e.previous, e.version) for e in moved] == [("base", report.swaps[0].version)]

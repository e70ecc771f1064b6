import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.learner_events import feedback
from tests.learner_fakes import MemoryBus
from tests.learner_stages import Script, fill, runner

from thumbwheel.bus import BusUnavailable
from thumbwheel.events import wrap
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.runs.run import RunInterrupted, Stopped
from thumbwheel_learner.runs.stage import Parent, StageOutcome
from thumbwheel_learner.store.runs import label_counts, last_run, unfinished_runs
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import RunRow

ALL = ("reward", "sft", "ppo")
WHOLE = ["reward", "sft", "ppo0", "ppo1", "ppo2", "gate", "publish"]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "journal")


def runs(engine: Engine) -> list[RunRow]:
    with reading(engine) as session:
        return list(session.exec(select(RunRow).order_by(RunRow.started_ms)))


def test_a_run_goes_through_its_stages_in_order_and_is_published(
    engine: Engine, tmp_path: Path, script: Script
) -> None:
    fill(engine)
    row = runner(engine, tmp_path, script).start(trigger="now", stages=ALL)
    assert script.lines() == WHOLE
    assert (row.state, row.version, row.parent, row.attempts) == ("published", "v1-ppo", "base", 1)
    assert '"gate":{"said":"gate"}' in row.detail
    assert row.snapshot is not None


def test_stages_can_be_left_out(engine: Engine, tmp_path: Path, script: Script) -> None:
    fill(engine)
    row = runner(engine, tmp_path, script).start(trigger="now", stages=("sft",))
    assert script.lines() == ["sft", "gate", "publish"]
    assert row.version == "v1-sft"


def test_too_little_evidence_is_said_and_nothing_is_trained(engine: Engine, tmp_path: Path, script: Script) -> None:
    fill(engine, labels=4)
    row = runner(engine, tmp_path, script).start(trigger="now", stages=ALL)
    assert (row.state, row.reason) == ("skipped", "4 labels so far, a run needs 5")
    assert script.lines() == []


def test_a_stage_can_end_the_run_with_a_reason(engine: Engine, tmp_path: Path, script: Script) -> None:
    fill(engine)
    script.halts["gate"] = StageOutcome(result={"accepted": False}, state="rejected", reason="longer, not better")
    row = runner(engine, tmp_path, script).start(trigger="now", stages=ALL)
    assert (row.state, row.reason, row.version) == ("rejected", "longer, not better", None)
    assert "publish" not in script.lines()


def test_a_failing_stage_fails_the_run_and_no_other(engine: Engine, tmp_path: Path, script: Script) -> None:
    fill(engine)

    def explode(stage: str) -> None:
        if stage == "sft":
            raise ValueError("nan in the loss")

    script.before = explode
    one = runner(engine, tmp_path, script)
    assert (one.start(trigger="now", stages=ALL).state, last_run(engine).reason) == (
        "failed",
        "ValueError: nan in the loss",
    )
    assert one.resume() is None
    script.before = lambda stage: None
    assert one.start(trigger="now", stages=ALL).state == "published"


@pytest.mark.parametrize("error", [Stopped("please"), RunInterrupted("later"), BusUnavailable("gone")])
def test_an_interrupted_run_stays_open_and_repeats_no_step(
    engine: Engine, tmp_path: Path, script: Script, error: Exception
) -> None:
    fill(engine)

    def interrupt(stage: str) -> None:
        if stage == "ppo1" and len(unfinished_runs(engine)) == 1 and unfinished_runs(engine)[0].attempts == 1:
            raise error

    script.before = interrupt
    one = runner(engine, tmp_path, script)
    with pytest.raises((Stopped, RunInterrupted)):
        one.start(trigger="now", stages=ALL)
    assert script.lines() == ["reward", "sft", "ppo0", "ppo1"]
    row = one.resume()
    assert row is not None
    assert (row.state, row.attempts) == ("published", 2)
    assert script.lines() == WHOLE


def interrupted(engine: Engine, tmp_path: Path, script: Script, at: str = "ppo0") -> str:
    """Leave a run open at a step; returns its id."""
    fill(engine)

    def stop(stage: str) -> None:
        if stage == at:
            raise Stopped

    script.before = stop
    with pytest.raises(Stopped):
        runner(engine, tmp_path, script).start(trigger="now", stages=ALL)
    script.before = lambda stage: None
    return unfinished_runs(engine)[0].run_id


def test_a_run_whose_parent_is_no_longer_live_is_abandoned(engine: Engine, tmp_path: Path, script: Script) -> None:
    interrupted(engine, tmp_path, script)
    row = runner(engine, tmp_path, script, live=lambda: Parent("v9", None)).resume()
    assert row is not None
    assert (row.state, row.reason) == ("abandoned", "its parent base is no longer the live policy, v9 is")


def test_a_run_on_another_base_model_is_abandoned(engine: Engine, tmp_path: Path, script: Script) -> None:
    interrupted(engine, tmp_path, script)
    row = runner(engine, tmp_path, script, base="0" * 64).resume()
    assert row is not None
    assert row.state == "abandoned"
    assert "base model has changed" in row.reason


def test_a_run_whose_snapshot_is_damaged_is_abandoned(engine: Engine, tmp_path: Path, script: Script) -> None:
    interrupted(engine, tmp_path, script)
    [snapshot] = (tmp_path / "snapshots").glob("*.gz")
    snapshot.write_bytes(snapshot.read_bytes()[:-9])
    row = runner(engine, tmp_path, script).resume()
    assert row is not None
    assert row.state == "abandoned"
    assert "does not read" in row.reason


def test_a_run_that_never_gets_through_is_abandoned_in_the_end(engine: Engine, tmp_path: Path, script: Script) -> None:
    interrupted(engine, tmp_path, script)
    row = runner(engine, tmp_path, script, max_attempts=1).resume()
    assert row is not None
    assert (row.state, row.reason) == ("abandoned", "interrupted 1 times, last in stage ppo")


def test_feedback_that_arrives_during_a_run_is_left_to_the_next(engine: Engine, tmp_path: Path, script: Script) -> None:
    run_id = interrupted(engine, tmp_path, script)
    before = unfinished_runs(engine)[0].snapshot
    bus = MemoryBus()
    for n in range(20, 40):
        bus.publish(wrap(feedback(n)))
    consumer = Consumer(engine, bus)
    while consumer.step(0.0):
        pass
    row = runner(engine, tmp_path, script).resume()
    assert row is not None
    assert (row.run_id, row.snapshot) == (run_id, before)
    total, new = label_counts(engine)
    assert new == total - 6 > 0


def test_only_the_newest_runs_keep_their_folders(engine: Engine, tmp_path: Path, script: Script) -> None:
    fill(engine)
    one = runner(engine, tmp_path, script, keep_runs=2)
    done = [one.start(trigger="now", stages=ALL).run_id for _ in range(4)]
    assert {path.name for path in (tmp_path / "runs").iterdir()} == set(done[2:])


LEARNER = """
import sys
from pathlib import Path
from tests.learner_stages import Script, runner, sleepy
from thumbwheel_learner.store.session import connect
data, at = Path(sys.argv[1]), sys.argv[2]
script = Script(data / "journal")
script.before = sleepy(data, at)
engine = connect(f"sqlite:///{data / 'learner.db'}")
one = runner(engine, data, script)
print((one.resume() or one.start(trigger="now", stages=("reward", "sft", "ppo"))).state, flush=True)
"""


@pytest.mark.parametrize("at", ["reward", "sft0", "ppo1", "gate", "publish0"])
def test_a_killed_learner_resumes_its_run_without_repeating_a_finished_step(
    engine: Engine, tmp_path: Path, at: str
) -> None:
    fill(engine)
    command = [sys.executable, "-c", LEARNER, str(tmp_path), at]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "reached\n"
        first.send_signal(signal.SIGKILL)
    second = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=60)
    assert second.stdout == "published\n"
    assert Script(tmp_path / "journal").lines() == WHOLE
    [row] = runs(engine)
    assert (row.state, row.attempts, row.version) == ("published", 2, "v1-ppo")

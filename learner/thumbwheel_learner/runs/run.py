"""One training run: stages one after the other, each done once, resumed or cleanly abandoned after a crash."""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from thumbwheel.bus import BusUnavailable
from thumbwheel.events import new_id, now_ms
from thumbwheel_learner.dataset.freeze import freeze
from thumbwheel_learner.dataset.keys import KeysAway, KeySource
from thumbwheel_learner.dataset.snapshots import Frozen, SnapshotDamaged, load
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.progress import Progress
from thumbwheel_learner.runs.stage import STAGES, Parent, Stage, StageInput, StageOutcome, mark_done, outcome_of
from thumbwheel_learner.store.runs import (
    add_result,
    open_run,
    unfinished_runs,
    update_run,
    version_of_run,
)
from thumbwheel_learner.store.tables import RunRow

log = logging.getLogger(__name__)
FOLDER = "runs"
_EVEN_THEN = "questions"
"""Done even if the run ends with its reward model: what that cannot tell is what people should be asked."""
_LEAVE_OUT = ("reward", "sft", "ppo")


class Stopped(LearnerError):
    """A person asked the learner to stop; the run goes on where it was at the next start."""


class RunInterrupted(LearnerError):
    """Something the run needs is away; it stays open and is tried again later."""


class RunAbandoned(LearnerError):
    """The run can never finish; the message says why."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What holds for every run of this learner."""

    data: Path
    base: str
    """Fingerprint of the base model."""
    min_labels: int
    max_prompts: int
    keys: KeySource
    """Of the people whose words are in the store."""
    keep_runs: int = 5
    """Folders of finished runs that stay on disk."""
    max_attempts: int = 10
    """A run that was interrupted this often is abandoned, so that a poisonous one cannot loop for ever."""


class Runner:
    """Starts and resumes runs, one at a time; the caller holds the data directory's lock."""

    def __init__(
        self,
        engine: Engine,
        plan: RunPlan,
        stages: Mapping[str, Stage],
        *,
        live: Callable[[], Parent],
        progress: Progress,
    ) -> None:
        """`stages` maps reward, sft, ppo, gate and publish to what does them, and questions where people are asked.

        `live` tells the parent of a new run.
        """
        self._engine = engine
        self._plan = plan
        self._stages = stages
        self._live = live
        self._progress = progress

    def start(self, *, trigger: str, stages: tuple[str, ...]) -> RunRow:
        """Begin a run of these stages (of reward, sft, ppo) and see it through; returns its row.

        Raises `Stopped` and `RunInterrupted`, the run then stays open for `resume`.
        """
        now = now_ms()
        run = RunRow(
            run_id=new_id("run"),
            state="running",
            stage=STAGES[0],
            stages=",".join(stages),
            trigger=trigger,
            parent=self._live().version,
            base=self._plan.base,
            frozen_ms=now,
            started_ms=now,
        )
        open_run(self._engine, run)
        log.info("run %s starts (%s): %s", run.run_id, trigger, run.stages)
        return self._see_through(run)

    def resume(self) -> RunRow | None:
        """Go on with the run that a crash or a stop left open, or abandon it with a reason; None when there is none."""
        row: RunRow | None = None
        for run in unfinished_runs(self._engine):
            if run.attempts >= self._plan.max_attempts:
                reason = f"interrupted {run.attempts} times, last in stage {run.stage}"
                row = self._finish(run, "abandoned", reason)
                continue
            log.info("run %s goes on in stage %s (attempt %d)", run.run_id, run.stage, run.attempts + 1)
            row = self._see_through(update_run(self._engine, run.run_id, attempts=run.attempts + 1))
        return row

    def folder(self, run_id: str) -> Path:
        """Where a run keeps its stages."""
        return self._plan.data / FOLDER / run_id

    def _see_through(self, run: RunRow) -> RunRow:
        try:
            outcome = self._do(run)
        except (Stopped, RunInterrupted):
            raise
        except (BusUnavailable, KeysAway, OperationalError) as error:
            raise RunInterrupted(f"run {run.run_id} waits: {error}") from error
        except RunAbandoned as error:
            return self._finish(run, "abandoned", str(error))
        except Exception as error:
            log.exception("run %s failed", run.run_id)
            return self._finish(run, "failed", f"{type(error).__name__}: {error}")
        return self._finish(run, outcome.state or "halted", outcome.reason, version=outcome.result.get("version"))

    def _do(self, run: RunRow) -> StageOutcome:
        """Every stage that is not done yet; returns the outcome that ended the run."""
        parent = self._check(run)
        asked = tuple(run.stages.split(",")) if run.stages else ()
        frozen, outcome = self._snapshot(run)
        results: dict[str, Mapping[str, Any]] = {}
        for stage in STAGES[1:]:
            if stage not in self._stages or (stage in _LEAVE_OUT and stage not in asked):
                continue
            if outcome.state is not None and not (stage == _EVEN_THEN and results):
                continue
            folder = self.folder(run.run_id) / stage
            done = outcome_of(folder)
            if done is None:
                self._enter(run, stage)
                folder.mkdir(parents=True, exist_ok=True)
                given = StageInput(
                    run.run_id, folder, frozen.snapshot, _facts(frozen), parent, results, asked, self._progress
                )
                done = self._stages[stage](given)
                self._leave(run, stage, folder, done)
            outcome = outcome if outcome.state is not None else done
            results[stage] = done.result
        return outcome

    def _check(self, run: RunRow) -> Parent:
        """Raises `RunAbandoned` when the world has moved on under the run; returns its parent."""
        if run.base != self._plan.base:
            raise RunAbandoned("the base model has changed since the run began")
        live = self._live()
        version = version_of_run(self._engine, run.run_id)
        announced = version is not None and version.state == "announced"
        if live.version != run.parent and not announced:
            raise RunAbandoned(f"its parent {run.parent} is no longer the live policy, {live.version} is")
        return Parent(run.parent, live.adapter)

    def _snapshot(self, run: RunRow) -> tuple[Frozen, StageOutcome]:
        folder = self.folder(run.run_id) / STAGES[0]
        done = outcome_of(folder)
        if done is not None:
            try:
                frozen = load(self._plan.data, done.result["hash"], self._plan.keys)
            except SnapshotDamaged as error:
                raise RunAbandoned(str(error)) from error
            if frozen.erased:
                raise RunAbandoned(f"{frozen.erased} of its examples were erased since; a new run leaves them out")
            return frozen, done
        self._enter(run, STAGES[0])
        update_run(self._engine, run.run_id, frozen_ms=now_ms())
        frozen = freeze(self._engine, self._plan.data, self._plan.keys, max_prompts=self._plan.max_prompts)
        labels = _labels(frozen.snapshot.counts)
        outcome = StageOutcome(result=_facts(frozen))
        if labels < self._plan.min_labels:
            reason = f"{labels} labels so far, a run needs {self._plan.min_labels}"
            outcome = StageOutcome(result=_facts(frozen), state="skipped", reason=reason)
        update_run(self._engine, run.run_id, snapshot=frozen.snapshot.hash)
        self._leave(run, STAGES[0], folder, outcome)
        return frozen, outcome

    def _enter(self, run: RunRow, stage: str) -> None:
        update_run(self._engine, run.run_id, stage=stage)
        self._progress(stage, 0.0, "")

    def _leave(self, run: RunRow, stage: str, folder: Path, outcome: StageOutcome) -> None:
        mark_done(folder, outcome)
        add_result(self._engine, run.run_id, stage, outcome.result)
        log.info("run %s: %s done %s", run.run_id, stage, outcome.reason)
        self._progress(stage, 1.0, outcome.reason)

    def _finish(self, run: RunRow, state: str, reason: str, version: str | None = None) -> RunRow:
        log.info("run %s is over: %s %s", run.run_id, state, reason)
        row = update_run(self._engine, run.run_id, state=state, reason=reason, version=version, finished_ms=now_ms())
        self._prune()
        return row

    def _prune(self) -> None:
        """Remove the folders of all but the newest finished runs."""
        keep = {run.run_id for run in unfinished_runs(self._engine)}
        folders = sorted((self._plan.data / FOLDER).glob("run-*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for folder in [path for path in folders if path.name not in keep][self._plan.keep_runs :]:
            shutil.rmtree(folder, ignore_errors=True)


def _labels(counts: Mapping[str, int]) -> int:
    return counts["judged"] + counts["comparisons"] + counts["corrections"] + counts["demonstrations"]


def _facts(frozen: Frozen) -> dict[str, Any]:
    """What manifests say of a snapshot."""
    return {
        "hash": frozen.snapshot.hash,
        "counts": frozen.snapshot.counts,
        "file": frozen.file,
        "events": frozen.events_file,
        "events_sha256": frozen.events_sha256,
    }

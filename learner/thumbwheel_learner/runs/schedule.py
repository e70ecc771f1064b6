"""When a run starts: by the clock, by the number of new labels, on demand; never two at once, never while paused."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Engine

from thumbwheel.events import now_ms
from thumbwheel_learner.metrics import Metrics
from thumbwheel_learner.runs.live import followed
from thumbwheel_learner.runs.run import RunInterrupted, Stopped
from thumbwheel_learner.status import StatusReporter
from thumbwheel_learner.store.commands import Demand, is_paused, pending_demand
from thumbwheel_learner.store.runs import label_counts, last_run, unfinished_runs
from thumbwheel_learner.store.tables import RunRow

log = logging.getLogger(__name__)
LOOK_EVERY_S = 0.5
ARRIVAL_MS = 1_000
"""What a label may take from the service's log to the bus."""
SKIPPED_MS = 60_000
"""After a run that lacked evidence none starts by itself for so long."""
PATIENCE_MS = 15_000
"""How long a demand waits for the store to follow the bus."""


class Runs(Protocol):
    """The part of a `Runner` that a schedule needs."""

    def start(self, *, trigger: str, stages: tuple[str, ...]) -> RunRow:
        """Begin a run and see it through."""
        ...

    def resume(self) -> RunRow | None:
        """Go on with a run that was left open."""
        ...


class Due(NamedTuple):
    """A run that should start now."""

    trigger: str
    stages: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Triggers:
    """What starts a run, besides a person."""

    stages: tuple[str, ...]
    every_s: float
    """0: never by the clock."""
    after_labels: int
    """0: never by their number."""
    min_labels: int = 0
    """With fewer than this no run starts by itself; one that is asked for says so."""
    settle_s: float = 120.0
    """How long a new run waits for the service to follow the version that the last one published."""
    retry_s: float = 30.0
    """Before an interrupted run is tried again."""


class Schedule:
    """Looks twice a second whether a run is due and does it in its own thread; consuming goes on beside it."""

    def __init__(
        self,
        engine: Engine,
        runs: Runs,
        triggers: Triggers,
        *,
        reporter: StatusReporter,
        metrics: Metrics,
        report_every_s: float,
        waits_for_route: bool,
        caught_up_ms: Callable[[], int],
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """`waits_for_route`: False where a person promotes; `caught_up_ms`: how far the store follows the bus."""
        self._engine = engine
        self._runs = runs
        self._triggers = triggers
        self._reporter = reporter
        self._metrics = metrics
        self._report_every_s = report_every_s
        self._waits_for_route = waits_for_route
        self._caught_up_ms = caught_up_ms
        self._clock = clock
        self._interval_due = threading.Event()
        self._not_before_ms = 0
        self._by_itself_from_ms = 0
        self._began_ms = clock()
        self._scheduler: BackgroundScheduler | None = None

    def start(self) -> None:
        """Begin to look, to report, and to count time."""
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        executors = {name: ThreadPoolExecutor(1) for name in ("default", "training")}
        options: dict[str, Any] = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        scheduler: Any = BackgroundScheduler(executors=executors, job_defaults=options, timezone=UTC)
        soon = datetime.now(UTC)
        scheduler.add_job(self.look, "interval", seconds=LOOK_EVERY_S, executor="training", next_run_time=soon)
        scheduler.add_job(self._report, "interval", seconds=self._report_every_s, next_run_time=soon)
        if self._triggers.every_s:
            scheduler.add_job(self._interval_due.set, "interval", seconds=self._triggers.every_s)
        scheduler.start()
        self._scheduler = scheduler

    def stop(self) -> None:
        """Look no more; returns when the run that is going on has halted (its progress must raise `Stopped`)."""
        scheduler: Any = self._scheduler
        if scheduler is not None:
            scheduler.shutdown(wait=True)
            self._scheduler = None

    def look(self) -> RunRow | None:
        """Do what is due: resume what was left open, else start a run; returns the run that is over, if any."""
        if self._clock() < self._not_before_ms or not self._is_current():
            return None
        try:
            row = self._resume() if unfinished_runs(self._engine) else self._start_if_due()
        except Stopped:
            self._reporter.resting("stopped", "stopped in the middle of a run, which goes on at the next start")
            return None
        except RunInterrupted as error:
            log.warning("%s", error)
            self._not_before_ms = self._clock() + round(self._triggers.retry_s * 1000)
            self._reporter.resting("idle", f"waiting to resume: {error}")
            return None
        if row is not None:
            self._over(row)
        return row

    def _resume(self) -> RunRow | None:
        self._reporter.training("resuming", 0.0, "")
        return self._runs.resume()

    def _start_if_due(self) -> RunRow | None:
        paused = is_paused(self._engine)
        demand = pending_demand(self._engine)
        total, new = label_counts(self._engine)
        self._metrics.labels.labels("total").set(total)
        self._metrics.labels.labels("new").set(new)
        if paused:
            self._reporter.resting("paused", "paused" + ("; a run waits for resume" if demand else ""))
            return None
        due = self._due(demand, total, new)
        if due is None:
            self._reporter.resting("idle", self._outlook(total, new))
            return None
        if demand is not None and self._labels_may_be_on_their_way(demand):
            return None
        if self._is_settling():
            self._reporter.resting("idle", "a run is due and waits until the service has followed the last version")
            return None
        self._interval_due.clear()
        self._reporter.training("snapshot", 0.0, f"started ({due.trigger})")
        return self._runs.start(trigger=due.trigger, stages=due.stages)

    def _due(self, demand: Demand | None, total: int, new: int) -> Due | None:
        stages = self._triggers.stages
        if demand is not None:
            return Due("now", demand.stages or stages)
        if total < self._triggers.min_labels or self._clock() < self._by_itself_from_ms:
            return None
        if self._triggers.after_labels and new >= self._triggers.after_labels:
            return Due("labels", stages)
        if self._interval_due.is_set():
            if new:
                return Due("interval", stages)
            self._interval_due.clear()
        return None

    def _outlook(self, total: int, new: int) -> str:
        after, least = self._triggers.after_labels, self._triggers.min_labels
        if total < least:
            return f"{total} labels so far, a run needs {least}"
        return f"{new} new labels" + (f", a run starts at {after}" if after else "")

    def _is_current(self) -> bool:
        """Whether the store has followed the bus at least once since this learner started."""
        return self._caught_up_ms() >= self._began_ms

    def _labels_may_be_on_their_way(self, demand: Demand) -> bool:
        """Whether labels given before the demand may still be unread; they are waited for, but not for ever."""
        age_ms = self._clock() - demand.created_ms
        return age_ms < ARRIVAL_MS or (age_ms < PATIENCE_MS and self._caught_up_ms() <= demand.created_ms)

    def _is_settling(self) -> bool:
        """Whether the service may be about to follow the last version, which the next run should start from."""
        run = last_run(self._engine)
        if not self._waits_for_route or run is None or run.version is None or run.finished_ms is None:
            return False
        fresh = self._clock() - run.finished_ms < self._triggers.settle_s * 1000
        return fresh and not followed(self._engine, run.version)

    def _over(self, row: RunRow) -> None:
        if row.state == "skipped":
            self._by_itself_from_ms = self._clock() + SKIPPED_MS
        self._metrics.runs.labels(row.state).inc()
        self._metrics.seconds.observe(((row.finished_ms or row.started_ms) - row.started_ms) / 1000)
        self._reporter.resting("idle", f"last run {row.state}" + (f": {row.reason}" if row.reason else ""))
        self._reporter.send(force=True)

    def _report(self) -> None:
        self._reporter.send()

"""What the learner says of itself: kept in memory, sent when it changes and regularly while training."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from sqlalchemy import Engine

from thumbwheel.bus import BusError, EventBus, NewRecord
from thumbwheel.events import LearnerReported, encode, now_ms, topic_and_key, wrap
from thumbwheel.types import LearnerStatus, StoredOffsets
from thumbwheel_learner.store.ingest import stored_offsets
from thumbwheel_learner.store.runs import label_counts, last_run, reward_model, unfinished_runs
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import RunRow

log = logging.getLogger(__name__)
State = Literal["idle", "training", "paused", "stopped"]
HEARTBEAT_S = 20.0
"""Between reports while nothing changes, well below the time after which the service takes the learner for stopped."""


class StatusReporter:
    """Thread-safe; `send` is called by a timer, everything else by whoever knows something new."""

    def __init__(
        self,
        engine: Engine,
        bus: EventBus,
        *,
        reads: Literal["embedded", "kafka"] = "embedded",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`reads` names the bus that the stored offsets belong to."""
        self._engine = engine
        self._bus = bus
        self._reads: Literal["embedded", "kafka"] = reads
        self._clock = clock
        self._lock = threading.Lock()
        self._state: State = "idle"
        self._stage: str | None = None
        self._share: float | None = None
        self._detail = "starting"
        self._trouble = ""
        self._sent: LearnerStatus | None = None
        self._sent_at = -HEARTBEAT_S

    def training(self, stage: str, share: float, detail: str) -> None:
        """A run got on."""
        with self._lock:
            self._state, self._stage, self._share, self._detail = "training", stage, share, detail

    def resting(self, state: State, detail: str) -> None:
        """No run is going on, and why."""
        with self._lock:
            self._state, self._stage, self._share, self._detail = state, None, None, detail

    def trouble(self, detail: str) -> None:
        """Something outside training is wrong; shown until it is called with an empty text."""
        with self._lock:
            self._trouble = detail

    def status(self) -> LearnerStatus:
        """The whole status as of now."""
        total, new = label_counts(self._engine)
        run, reward = last_run(self._engine), reward_model(self._engine)
        open_runs = unfinished_runs(self._engine)
        with reading(self._engine) as session:
            offsets = {f"{at.topic}/{at.partition}": offset for at, offset in stored_offsets(session).items()}
        with self._lock:
            going_on = open_runs[0].run_id if open_runs and self._state == "training" else None
            return LearnerStatus(
                state=self._state,
                stage=self._stage,
                progress=self._share,
                run_id=going_on,
                detail=f"{self._detail}; {self._trouble}" if self._trouble else self._detail,
                labels_total=total,
                labels_new=new,
                updated_ms=now_ms(),
                reward_model=reward_figures(reward.reward_id, reward.metrics) if reward else {},
                last_run=run_figures(run) if run else {},
                stored=StoredOffsets(self._reads, offsets),
            )

    def send(self, *, force: bool = False) -> bool:
        """Report if something changed, a run is going on, or it is time for a sign of life; True when it was sent.

        A bus that is away is no reason to stop: the next report says it all.
        """
        status = self.status()
        due = force or status.state == "training" or self._clock() - self._sent_at >= HEARTBEAT_S
        if not due and self._sent is not None and _same(status, self._sent):
            return False
        event = LearnerReported(status=status)
        topic, key = topic_and_key(event)
        envelope = wrap(event)
        try:
            self._bus.append([NewRecord(topic.name, key, envelope.event_id, encode(envelope))])
        except BusError as error:
            log.debug("the status could not be reported: %s", error)
            return False
        self._sent, self._sent_at = status, self._clock()
        return True


def _same(one: LearnerStatus, other: LearnerStatus) -> bool:
    """Whether there is nothing to report at once; how far the bus is stored can wait for the next sign of life."""
    first, second = (msgspec.structs.replace(status, updated_ms=0, stored=msgspec.UNSET) for status in (one, other))
    return first == second


def reward_figures(reward_id: str, metrics: str) -> dict[str, Any]:
    """A reward model in a status: its id and its figures."""
    return {"id": reward_id, **msgspec.json.decode(metrics)}


def run_figures(run: RunRow) -> dict[str, Any]:
    """A finished run in a status: what came of it and why, and what each stage said."""
    return {
        "run_id": run.run_id,
        "outcome": run.state,
        "reason": run.reason,
        "version": run.version,
        "parent": run.parent,
        "trigger": run.trigger,
        "snapshot": run.snapshot,
        "started_ms": run.started_ms,
        "finished_ms": run.finished_ms,
        "seconds": ((run.finished_ms or run.started_ms) - run.started_ms) / 1000,
        "stages": {stage: _brief(result) for stage, result in msgspec.json.decode(run.detail).items()},
    }


def _brief(result: dict[str, Any]) -> dict[str, Any]:
    """Without the iteration-by-iteration history, which is in the manifest and too long to repeat every second."""
    return {name: value for name, value in result.items() if name != "history"}

"""What the learner tells Prometheus, on loopback and only when a port is set."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from thumbwheel_learner.consume import Stored, Trouble
from thumbwheel_learner.runs.stage import STAGES


class Metrics:
    """Counters of what was stored, gauges of where training is; each in its own registry, so tests do not collide."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make: dict[str, Any] = {"namespace": "thumbwheel_learner", "registry": self.registry}
        self.records = Counter("records_total", "Records stored, by topic.", ["topic"], **make)
        self.dead_letters = Counter("dead_letters_total", "Records that broke the contract.", ["topic"], **make)
        self.troubles = Counter("troubles_total", "Times that reading could not go on, by kind.", ["kind"], **make)
        self.offset = Gauge("stored_offset", "Next offset to store.", ["topic", "partition"], **make)
        self.runs = Counter("runs_total", "Training runs that are over, by outcome.", ["outcome"], **make)
        self.stage = Gauge("stage_progress", "Share of each stage of the current run that is done.", ["stage"], **make)
        self.labels = Gauge("labels", "Usable labels, all and new since the last run.", ["which"], **make)
        self.seconds = Histogram(
            "run_seconds",
            "Duration of training runs.",
            buckets=(1, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400),
            **make,
        )

    def stored(self, batch: Stored) -> None:
        """A batch was committed."""
        for topic, count in batch.records.items():
            self.records.labels(topic).inc(count)
        for topic, count in batch.dead_letters.items():
            self.dead_letters.labels(topic).inc(count)
        for (topic, partition), offset in batch.offsets.items():
            self.offset.labels(topic, str(partition)).set(offset)

    def trouble(self, trouble: Trouble | None) -> None:
        """Reading could not go on; None: it goes on again."""
        if trouble is not None:
            self.troubles.labels(trouble.kind).inc()

    def progress(self, stage: str, share: float) -> None:
        """A stage got on; the stages after it begin at zero."""
        if stage in STAGES:
            self.stage.labels(stage).set(share)
            for later in STAGES[STAGES.index(stage) + 1 :]:
                self.stage.labels(later).set(0.0)

    def serve(self, port: int) -> AbstractContextManager[None]:
        """Answer scrapes on 127.0.0.1 while the context lasts; port 0 answers none."""
        return self._serving(port) if port else nullcontext()

    @contextmanager
    def _serving(self, port: int) -> Iterator[None]:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=self.registry)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

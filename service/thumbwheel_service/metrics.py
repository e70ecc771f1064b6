"""Every metric of the service, in one registry of its own; names and meanings are documented by their help texts."""

import math
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from thumbwheel.bus import TopicPartition
from thumbwheel.types import LogStatus

_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The service's counters; made once by the composition root and handed to whoever counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter(
            "thumbwheel_http_requests", "HTTP requests by route template and status", ["route", "status"], registry=r
        )
        self.request_seconds = Histogram(
            "thumbwheel_http_request_seconds", "From request to last byte", ["route"], registry=r, buckets=_LONG
        )
        self.overhead_seconds = Histogram(
            "thumbwheel_chat_overhead_seconds",
            "What we add to a chat: its time less the model's own",
            registry=r,
            buckets=_FAST,
        )
        self.chats = Counter("thumbwheel_chats", "Chats by how they ended", ["status"], registry=r)
        self.chats_in_flight = Gauge("thumbwheel_chats_in_flight", "Chats being answered now", registry=r)
        self.feedback = Counter(
            "thumbwheel_feedback", "Accepted feedback by kind and what became of it", ["kind", "result"], registry=r
        )
        self.commits = Counter("thumbwheel_writer_commits", "Durable commits of the writer", registry=r)
        self.commit_units = Counter("thumbwheel_writer_units", "Units of work in those commits", registry=r)
        self.commit_seconds = Histogram(
            "thumbwheel_writer_commit_seconds", "One group commit, disk included", registry=r, buckets=_FAST
        )
        self.writer_depth = Gauge("thumbwheel_writer_waiting", "Units that wait for the writer", registry=r)
        self.relayed = Counter("thumbwheel_relay_records", "Log records carried to Kafka", registry=r)
        self._lanes_failing: set[int] = set()
        self.relay_failing = Gauge("thumbwheel_relay_failing", "1 while the relay cannot reach Kafka", registry=r)
        self.relay_lag = Gauge("thumbwheel_relay_lag", "Log records that are not on Kafka yet", registry=r)
        self.records_skipped = Counter(
            "thumbwheel_bus_records_skipped", "Records that the service could not use", ["topic"], registry=r
        )
        self.dead_letters = Gauge(
            "thumbwheel_dead_letters_open", "Dead letters that nobody has settled, by source", ["topic"], registry=r
        )
        self.expired = Counter("thumbwheel_expired", "Turns and feedback removed for their age", registry=r)
        self.erasures_open = Gauge("thumbwheel_erasures_open", "Erasures that are not complete", registry=r)
        self.erasures_late = Gauge("thumbwheel_erasures_late", "Those of them past their deadline", registry=r)
        self.log_records = Gauge("thumbwheel_log_records", "Records of turns, feedback and control kept", registry=r)
        self.log_first = Gauge(
            "thumbwheel_log_first_offset", "Lowest offset still there", ["topic", "partition"], registry=r
        )
        self.log_pruned = Counter("thumbwheel_log_pruned", "Log records removed by this process", registry=r)
        self.learner_behind = Gauge(
            "thumbwheel_learner_behind", "Log records that the learner has not stored; NaN: it never said", registry=r
        )
        self.policy_epoch = Gauge("thumbwheel_policy_epoch", "Epoch of the live route", registry=r)
        self.policy_swaps = Counter("thumbwheel_policy_swaps", "Moved routes", registry=r)
        self.policy_rejections = Counter("thumbwheel_policy_rejections", "Policies that were not loaded", registry=r)
        self.swap_seconds = Histogram(
            "thumbwheel_policy_swap_seconds", "From the event to the moved route", registry=r, buckets=_LONG
        )
        self.redactions = Counter(
            "thumbwheel_redactions", "Places redacted before they were stored, by kind", ["kind"], registry=r
        )
        self.lost_turns = Counter("thumbwheel_turns_lost", "Turns that a crash left open", registry=r)
        self._served: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def watch_writer(self, depth: Callable[[], int]) -> None:
        """Ask the writer's queue when scraped."""
        self.writer_depth.set_function(lambda: float(depth()))

    def served(self, route: str, status: int, seconds: float) -> None:
        """One answered request; looked up once per route and status, for this is on the way of every request."""
        known = self._served.get((route, status))
        if known is None:
            known = self.requests.labels(route, str(status)), self.request_seconds.labels(route)
            self._served[route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def committed(self, units: int, seconds: float) -> None:
        """One group commit; the writer's observer."""
        self.commits.inc()
        self.commit_units.inc(units)
        self.commit_seconds.observe(seconds)

    def relay_attempted(self, lane: int, carried: int, failure: str | None) -> None:
        """One attempt of one of the relays; their observer."""
        self.relayed.inc(carried)
        (self._lanes_failing.discard if failure is None else self._lanes_failing.add)(lane)
        self.relay_failing.set(1 if self._lanes_failing else 0)

    def redacted(self, found: Mapping[str, int]) -> None:
        """What was taken out of one turn or piece of feedback; the redactor's observer."""
        for kind, places in found.items():
            self.redactions.labels(kind).inc(places)

    def log_looked_at(self, figures: LogStatus, firsts: Mapping[TopicPartition, int], gone: int) -> None:
        """One round of the log's retention; its observer."""
        self.log_records.set(figures.records)
        self.log_pruned.inc(gone)
        self.learner_behind.set(math.nan if figures.behind is None else figures.behind)
        for (topic, partition), offset in firsts.items():
            self.log_first.labels(topic, str(partition)).set(offset)

    def exposition(self) -> tuple[bytes, str]:
        """Text for Prometheus and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

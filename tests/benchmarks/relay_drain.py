"""How fast the relay works off what an outage of the broker left, and what chats notice of the outage itself.

    python -m tests.benchmarks.relay_drain [--events 100000] [--rounds 3] [--outage 60] [--pairs 5] [--rate 100]

A real service process over a fake engine relays to a real broker. Every round the broker is killed, a backlog of events
of real size is appended to the log, the broker comes back, and the time is taken from the first record that arrives to
the last; in the same round a bare idempotent kafka-python producer sends as many of the same records to topics of its
own, the order alternating. With `--outage SECONDS` chats are sent at a constant rate through pairs of windows of that
length, one with the broker and one without. Bars: the relay carries at least 0.6 of the bare producer's records per
second; the chats' p99 in an outage is at most 1.1 of that before it, the median of the pairs.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Engine, text
from sqlmodel import Session
from tests.benchmarks.children import in_child
from tests.benchmarks.figures import OUT, Bar, finish, print_table, quantile
from tests.benchmarks.kafka_roads import produce_bare
from tests.benchmarks.real_events import record
from tests.benchmarks.wire import at_rate, post
from tests.brokers import Broker, LocalBroker, find_broker
from tests.service_process import ServiceProcess

from thumbwheel_service.db.engine import connect
from thumbwheel_service.log.append import append_records

_RATIO, _SLOWER = 0.6, 1.1
_BARE = "bare."
_CHUNK = 1_000
_SETTLE_SECONDS = 3.0
_PATIENCE_SECONDS = 900.0
_CHAT = post(
    "/v1/chat/completions", msgspec.json.encode({"messages": [{"role": "user", "content": "Where is my order? " * 20}]})
)
_LAG = text("SELECT (SELECT coalesce(sum(next), 0) FROM log_head) - (SELECT coalesce(sum(next), 0) FROM relay)")


class Stack(NamedTuple):
    """A service that relays, its broker, and its log as the database has it."""

    broker: Broker
    service: ServiceProcess
    database: Engine

    def lag(self) -> int:
        """Records that are not on Kafka yet."""
        with self.database.connect() as connection:
            return int(connection.execute(_LAG).scalar_one())

    def drained(self) -> list[tuple[float, int]]:
        """Wait until nothing is left; the lag at every moment that was looked at."""
        seen, deadline = [(time.perf_counter(), self.lag())], time.monotonic() + _PATIENCE_SECONDS
        while seen[-1][1]:
            assert time.monotonic() < deadline, f"{seen[-1][1]} records are left; see {self.service.log}"
            time.sleep(0.02)
            seen.append((time.perf_counter(), self.lag()))
        return seen


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    broker = find_broker(folder)
    try:
        if not isinstance(broker, LocalBroker):
            raise SystemExit(f"{broker.name} will not do: this needs a real Kafka of its own, see tests/brokers.py")
        broker.create_topics(_BARE)
        data = folder / "state"
        service = ServiceProcess(data, kafka_bootstrap=broker.bootstrap)
        service.start()
        try:
            service.wait_ready()
            database = connect(f"sqlite:///{data / 'service.db'}")
            yield Stack(broker, service, database)
            database.dispose()
        finally:
            service.stop()
    finally:
        broker.close()


def pile_up(database: Engine, first: int, events: int) -> None:
    """Append to the log as the service does; which looks there by itself."""
    for begin in range(first, first + events, _CHUNK):
        with (
            database.connect().execution_options(writes=True) as connection,
            Session(connection) as session,
            session.begin(),
        ):
            append_records(session, [record(number) for number in range(begin, min(begin + _CHUNK, first + events))])


def drain(stack: Stack, first: int, events: int) -> tuple[float, float]:
    """Records per second from the first that arrived after the outage to the last, and seconds until that first."""
    stack.drained()
    stack.broker.stop()
    pile_up(stack.database, first, events)
    backlog = stack.lag()
    stack.broker.start()
    seen = stack.drained()
    begun = max(moment for moment, lag in seen if lag >= backlog)
    return backlog / (seen[-1][0] - begun), begun - seen[0][0]


def drains(stack: Stack, events: int, rounds: int) -> list[dict[str, float]]:
    """Both, the order alternating."""
    told: list[dict[str, float]] = []
    for number in range(rounds):
        relay = bare = idle = 0.0
        for what in sorted(("bare", "relay"), reverse=bool(number % 2)):
            if what == "bare":
                bare = in_child(produce_bare, stack.broker.bootstrap, _BARE, events).result.per_second
            else:
                relay, idle = drain(stack, number * events, events)
        told.append({"bare": bare, "relay": relay, "ratio": relay / bare, "seconds until it begins": idle})
        print(f"round {number + 1}/{rounds}: {told[-1]['ratio']:.2f}", flush=True)
    return told


def chat_p99(stack: Stack, seconds: float, rate: float) -> float:
    """Milliseconds, of chats that all were answered."""
    answers = asyncio.run(at_rate(stack.service.port, lambda _: _CHAT, rate=rate, seconds=seconds, connections=64))
    bad = sorted({answer.status for answer in answers} - {200})
    if bad:
        raise RuntimeError(f"chats were answered {bad}; see {stack.service.log}")
    return quantile([answer.milliseconds for answer in answers], 0.99)


def outages(stack: Stack, seconds: float, pairs: int, rate: float) -> list[dict[str, float]]:
    """Windows with the broker and without it, two by two; the first of all is not counted."""
    chat_p99(stack, min(seconds, 5.0), rate)
    told: list[dict[str, float]] = []
    for number in range(pairs):
        stack.drained()
        time.sleep(_SETTLE_SECONDS)
        before = chat_p99(stack, seconds, rate)
        stack.broker.stop()
        during = chat_p99(stack, seconds, rate)
        stack.broker.start()
        told.append({"before_ms": before, "during_ms": during, "ratio": during / before})
        print(f"pair {number + 1}/{pairs}: {told[-1]['ratio']:.2f}", flush=True)
    return told


def table(what: str, told: list[dict[str, float]]) -> None:
    print_table((what, *told[0]), [(str(i + 1), *(f"{v:.2f}" for v in one.values())) for i, one in enumerate(told)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="in the backlog of every round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--outage", type=float, default=0.0, metavar="SECONDS", help="length of a window; 0: none")
    parser.add_argument("--pairs", type=int, default=5, help="of windows")
    parser.add_argument("--rate", type=float, default=100.0, help="chats per second in a window")
    parser.add_argument("--folder", type=Path, default=OUT, help="where broker and service keep their data")
    parser.add_argument("--out", type=Path, default=OUT / "relay_drain.json")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, running(Path(folder)) as stack:
        rounds = drains(stack, options.events, options.rounds)
        windows = outages(stack, options.outage, options.pairs, options.rate) if options.outage else []
    table("drain, records/s", rounds)
    bars = [Bar("relay to bare producer", statistics.median(one["ratio"] for one in rounds), "at least", _RATIO)]
    if windows:
        table("chat p99", windows)
        slower = statistics.median(one["ratio"] for one in windows)
        bars.append(Bar("chat p99, outage to before", slower, "at most", _SLOWER))
    report = {"events": options.events, "rounds": rounds, "windows": windows}
    return finish(report, bars, options.out)


if __name__ == "__main__":
    sys.exit(main())

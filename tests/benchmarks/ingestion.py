"""How fast the learner stores what Kafka holds, beside a consumer that only reads it; and whether its memory is flat.

    python -m tests.benchmarks.ingestion [--events 1000000] [--rounds 3] [--postgres] [--folder DIR]

A real broker is filled with turns and thumbs of real size, a few of them revised or delivered twice. Every round a bare
kafka-python consumer reads all of it, and a learner's consumer reads all of it into a new store, the order alternating,
each in a process of its own. At the end the last store is compared with one that is rebuilt from zero, as `thumbwheel
replay check` does. Bars: at least 0.4 of the bare consumer's events per second; memory in the last tenth of the time at
most 1.1 of the median; no difference. A million events take some 20 GB of disk below the folder.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.benchmarks.children import Done, in_child
from tests.benchmarks.figures import OUT, Bar, deciles, finish, print_table
from tests.benchmarks.kafka_roads import Read, fill, ingest, read_bare
from tests.brokers import LocalBroker, find_broker
from tests.databases import postgres_url

from thumbwheel.bus.kafka import KafkaBus
from thumbwheel_learner.replay.check import check
from thumbwheel_learner.replay.rebuild import prepare
from thumbwheel_learner.store.session import connect

_RATIO, _GROWTH = 0.4, 1.1


class Stores:
    """New databases, one after another; of SQLite only the last two stay on disk."""

    def __init__(self, folder: Path, *, postgres: bool) -> None:
        self._folder = folder
        self._postgres = postgres
        self._made: list[Path] = []

    def new(self) -> str:
        if self._postgres:
            return postgres_url()
        for old in self._made[:-1]:
            for suffix in ("", "-wal", "-shm"):
                old.with_name(old.name + suffix).unlink(missing_ok=True)
        self._made.append(self._folder / f"store-{len(self._made)}.db")
        return f"sqlite:///{self._made[-1]}"


def compare(bootstrap: str, events: int, stores: Stores, rounds: int) -> tuple[list[dict[str, Any]], str]:
    """Rounds of both, and the store of the last one."""
    told: list[dict[str, Any]] = []
    url = ""
    for number in range(rounds):
        url = stores.new()
        bare: Done[Read] | None = None
        if number % 2 == 0:
            bare = in_child(read_bare, bootstrap, events)
        stored: Done[Read] = in_child(ingest, bootstrap, url, events)
        bare = bare or in_child(read_bare, bootstrap, events)
        told.append(
            {
                "bare_per_second": bare.result.per_second,
                "stored_per_second": stored.result.per_second,
                "ratio": stored.result.per_second / bare.result.per_second,
                "memory_mib": deciles(stored.while_at_it(stored.result.seconds)),
                "bytes_per_event": bare.result.size / events,
            }
        )
        print(f"round {number + 1}/{rounds}: {told[-1]['ratio']:.2f}", flush=True)
    return told, url


def replayed(bootstrap: str, url: str, into: str) -> dict[str, Any]:
    """The store beside one that is read from zero."""
    store, rebuilt, begun = connect(url), connect(into), time.perf_counter()
    try:
        prepare(rebuilt, fresh=True)
        with KafkaBus(bootstrap) as bus:
            found = check(store, rebuilt, bus, lambda progress: None)
    finally:
        store.dispose()
        rebuilt.dispose()
    told = {"equal": found.equal, "rows": found.rows, "differences": found.differences}
    return {**told, "seconds": time.perf_counter() - begun}


def bars_of(rounds: list[dict[str, Any]], replay: dict[str, Any]) -> list[Bar]:
    growth = _median(one["memory_mib"][-1] / statistics.median(one["memory_mib"]) for one in rounds)
    different = sum(sum(kinds.values()) for kinds in replay["differences"].values())
    return [
        Bar("events per second, ratio", _median(one["ratio"] for one in rounds), "at least", _RATIO),
        Bar("memory, last tenth to median", growth, "at most", _GROWTH),
        Bar("differences after a replay", different, "at most", 0),
    ]


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def table(rounds: list[dict[str, Any]]) -> None:
    heads = ("round", "bare/s", "stored/s", "ratio", "MiB first", "median", "last tenth")
    rows: list[list[str]] = []
    for number, one in enumerate(rounds):
        memory = one["memory_mib"]
        rows.append([str(number + 1), f"{one['bare_per_second']:.0f}", f"{one['stored_per_second']:.0f}"])
        rows[-1] += [f"{one['ratio']:.2f}"]
        rows[-1] += [f"{mib:.0f}" for mib in (memory[0], statistics.median(memory), memory[-1])]
    print_table(heads, rows)


def measure(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], list[Bar]]:
    broker = find_broker(folder)
    try:
        if not isinstance(broker, LocalBroker):
            raise SystemExit(f"{broker.name} will not do: this needs a real Kafka of its own, see tests/brokers.py")
        broker.create_topics("")
        in_child(fill, broker.bootstrap, options.events)
        stores = Stores(folder, postgres=options.postgres)
        rounds, url = compare(broker.bootstrap, options.events, stores, options.rounds)
        replay = replayed(broker.bootstrap, url, stores.new())
    finally:
        broker.close()
    table(rounds)
    size = f"{rounds[0]['bytes_per_event']:.0f} bytes each"
    print(f"{options.events} events of {size}; replay from zero: {replay}")
    store = "postgresql" if options.postgres else "sqlite"
    return {"events": options.events, "store": store, "rounds": rounds, "replay": replay}, bars_of(rounds, replay)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", action="store_true", help="the store in PostgreSQL (default: SQLite)")
    parser.add_argument("--folder", type=Path, default=OUT, help="where broker and SQLite keep their data")
    parser.add_argument("--out", type=Path, default=OUT / "ingestion.json")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report, bars = measure(options, Path(folder))
    return finish(report, bars, options.out)


if __name__ == "__main__":
    sys.exit(main())

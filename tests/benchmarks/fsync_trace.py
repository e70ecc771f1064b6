"""Was a sync of the database's log done before each 2xx of the feedback endpoint? The kernel's own account, by strace.

    python -m tests.benchmarks.fsync_trace [--road sqlite postgres] [--count 200] [--concurrent 400] [--at-once 16]

A real service process over a fake engine is traced while it takes thumbs, first one at a time, then several at once; on
PostgreSQL the server's processes are traced with it, in one trace, so that the order of its lines is the order of
events. A thumb counts when, between the read() that brought it and the write() of its 2xx, its own bytes were written
to the write-ahead log and an fsync or fdatasync of that file, begun after that, succeeded: in the service process for
SQLite, in a process of the server for PostgreSQL. The exit status is 1 when one acknowledged thumb is without.
"""

import argparse
import asyncio
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.figures import OUT, Bar, finish, print_table
from tests.benchmarks.strace import TRACED, Call, Chain, calls, chains
from tests.benchmarks.thumbs import bring_turns, make_key, thumb
from tests.benchmarks.wire import by_turns, post
from tests.databases import postgres_server
from tests.processes import descendants
from tests.service_process import ServiceProcess

_MARKER = re.compile(r"traced-\d{6}")
_SECONDS_TO_ATTACH = 20.0


class Road(NamedTuple):
    """A service on one database, and whose sync of which file makes its commits durable."""

    service: ServiceProcess
    database_url: str
    pids: Callable[[], list[int]]
    is_log: Callable[[Call], bool]


@contextmanager
def sqlite_road(folder: Path) -> Iterator[Road]:
    data = folder / "sqlite"
    data.mkdir()
    service = ServiceProcess(data)
    log = str(data / "service.db")
    yield Road(service, f"sqlite:///{log}", lambda: [service.pid], lambda call: call.path in (log, f"{log}-wal"))


@contextmanager
def postgres_road(folder: Path) -> Iterator[Road]:
    server = postgres_server(folder / "pg")
    try:
        url, data = str(server.get_uri()), folder / "postgres"
        data.mkdir()
        service = ServiceProcess(data, database_url=url)

        def pids() -> list[int]:
            return [service.pid, server.get_pid(), *descendants(server.get_pid())]

        def is_log(call: Call) -> bool:
            return "/pg_wal/" in call.path

        yield Road(service, url, pids, is_log)
    finally:
        server.cleanup()


ROADS = {"sqlite": sqlite_road, "postgres": postgres_road}


@contextmanager
def traced(pids: list[int], out: Path) -> Iterator[None]:
    """Trace processes, their threads and what they fork, for as long as the block lasts."""
    log = out.with_suffix(".log")
    command = ["strace", "-f", "-y", "-s", "70000", "-e", f"trace={','.join(TRACED)}", "-e", "signal=none"]
    command += ["-o", str(out), *(word for pid in pids for word in ("-p", str(pid)))]
    with log.open("wb") as output:
        tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + _SECONDS_TO_ATTACH
        while not all(f"Process {pid} attached" in log.read_text() for pid in pids):
            assert tracer.poll() is None, f"strace cannot trace: {log.read_text()}"
            assert time.monotonic() < deadline, f"strace does not attach: {log.read_text()}"
            time.sleep(0.05)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(30)


def votes(first: int, count: int, key: str) -> list[bytes]:
    """Thumbs whose user and request id are one marker: the body brings it to disk, the answer's head gives it back."""
    markers = [f"traced-{number:06}" for number in range(first, first + count)]
    return [
        post("/v1/feedback", thumb(first + i, marker), key=key, request_id=marker) for i, marker in enumerate(markers)
    ]


def trace(road: Road, folder: Path, phases: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Every phase (how many thumbs, how many at once) with its counts."""
    key = make_key(road.database_url)
    road.service.start()
    told: dict[str, Any] = {}
    try:
        road.service.wait_ready()
        bring_turns(road.service.url, key)
        for place, (phase, (count, at_once)) in enumerate(phases.items()):
            out = folder / f"{phase.replace(' ', '-')}.strace"
            with traced(road.pids(), out):
                statuses = asyncio.run(by_turns(road.service.port, votes(place * 100_000, count, key), at_once=at_once))
            with out.open(errors="replace") as lines:
                found = list(calls(lines))
            told[phase] = counted(statuses, chains(found, _MARKER, road.is_log))
    finally:
        road.service.stop()
    return told


def counted(statuses: list[int], found: list[Chain]) -> dict[str, int]:
    """The trace beside what the client was told: an answer that the trace lacks counts as one without a sync."""
    acknowledged = sum(200 <= status < 300 for status in statuses)
    synced, own = (len({one.marker for one in found if flag(one)}) for flag in (lambda c: c.synced, lambda c: c.own))
    return {
        "sent": len(statuses),
        "acknowledged": acknowledged,
        "with_a_sync": synced,
        "with_a_sync_of_its_own_bytes": own,
        "without": acknowledged - own,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--road", nargs="+", choices=ROADS, default=list(ROADS))
    parser.add_argument("--count", type=int, default=200, help="thumbs one at a time")
    parser.add_argument("--concurrent", type=int, default=400, help="thumbs of several callers at once")
    parser.add_argument("--at-once", type=int, default=16, help="callers")
    parser.add_argument("--out", type=Path, default=OUT / "fsync_trace.json")
    options = parser.parse_args()
    if shutil.which("strace") is None:
        print("strace is not installed (apt-get install strace): without it nothing can be shown", file=sys.stderr)
        return 2
    phases = {"one at a time": (options.count, 1), "at once": (options.concurrent, options.at_once)}
    report: dict[str, Any] = {}
    for name in options.road:
        with tempfile.TemporaryDirectory() as folder, ROADS[name](Path(folder).resolve()) as road:
            report[name] = trace(road, Path(folder), phases)
    rows = [(f"{name}, {phase}", *found.values()) for name, told in report.items() for phase, found in told.items()]
    print_table(("feedback", "sent", "acknowledged", "synced", "own bytes", "without"), rows)
    without = sum(found["without"] for told in report.values() for found in told.values())
    silent = [row[0] for row in rows if not row[2]]
    bars = [Bar("acknowledged without a sync", without, "at most", 0), Bar("silent phases", len(silent), "at most", 0)]
    return finish(report, bars, options.out)


if __name__ == "__main__":
    sys.exit(main())

"""What a durable thumb costs beside a handler that only parses it: thumbs per second, and p99 at a constant rate.

    python -m tests.benchmarks.feedback_throughput [--rounds 5] [--seconds 15] [--rate 1000] [--connections 64]

The service (fake engine, API keys on, SQLite on a real disk) and a bare Litestar handler under the same server settings
each have one core to themselves while they are asked, the client has another. Every round asks both, the order
alternating: by `wrk` as fast as they answer, each thumb with a natural key of its own, then by a client that sends at
a constant rate and counts each request from when it was due. Bars: at least 0.6 of the bare handler's throughput while
that keeps its core busy, and a p99 at most 15 ms above its. Needs wrk and taskset.
"""

import argparse
import asyncio
import itertools
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.figures import (
    OUT,
    Bar,
    cpu_share,
    file_system,
    finish,
    fsync_milliseconds,
    print_table,
    quantile,
)
from tests.benchmarks.thumbs import bring_turns, make_key, thumb
from tests.benchmarks.wire import Answer, at_rate, post
from tests.benchmarks.wrk import storm
from tests.service_process import ServiceProcess

_RATIO, _BUSY, _MORE_MS = 0.6, 0.95, 15.0


class Plan(NamedTuple):
    """What one turn asks of a server."""

    seconds: int
    connections: int
    rate: float
    client_core: int
    key: str
    folder: Path


def ask(server: ServiceProcess, name: str, plan: Plan) -> dict[str, Any]:
    """One turn: both kinds of load."""
    with cpu_share(server.pid) as busy:
        fast = storm(
            server.url,
            plan.key,
            name,
            plan.folder,
            seconds=plan.seconds,
            connections=plan.connections,
            core=plan.client_core,
        )
    with cpu_share(os.getpid()) as client:
        steady = asyncio.run(at_rate(server.port, _requests(plan.key, name), rate=plan.rate, seconds=plan.seconds))
    good = [answer.milliseconds for answer in steady if answer.status == 201]
    if fast.broken or fast.refused or len(good) < len(steady):
        raise RuntimeError(f"{name}: not every thumb was taken: {fast}, {_refused(steady)}; see {server.log}")
    return {
        "per_second": fast.per_second,
        "cpu_share": busy.share,
        "p99_at_full_load": fast.p99,
        "p50_at_rate": quantile(good, 0.5),
        "p99_at_rate": quantile(good, 0.99),
        "client_share_at_rate": client.share,
    }


def _requests(key: str, run: str) -> Callable[[int], bytes]:
    return lambda number: post("/v1/feedback", thumb(number, f"{run}-at-rate-{number}"), key=key)


def _refused(answers: list[Answer]) -> list[int]:
    return sorted({answer.status for answer in answers} - {201})


def compare(service: ServiceProcess, bare: ServiceProcess, plan: Plan, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Rounds of both, the first to be asked alternating."""
    servers = {"service": service, "bare": bare}
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    for number in range(rounds):
        for name in sorted(servers, reverse=bool(number % 2)):
            told[name].append(ask(servers[name], f"{name}-{number}", plan))
        print(f"round {number + 1}/{rounds}", *(round(told[name][-1]["per_second"]) for name in told), flush=True)
    return told


def bars_of(told: dict[str, list[dict[str, Any]]]) -> list[Bar]:
    """Medians over the rounds of what was asked side by side."""
    pairs = list(zip(told["service"], told["bare"], strict=True))
    ratio = _median(service["per_second"] / bare["per_second"] for service, bare in pairs)
    above = _median(service["p99_at_rate"] - bare["p99_at_rate"] for service, bare in pairs)
    busy = _median(bare["cpu_share"] for _, bare in pairs)
    return [
        Bar("thumbs per second, ratio", ratio, "at least", _RATIO),
        Bar("bare handler's core busy", busy, "at least", _BUSY),
        Bar("p99 at the rate, ms above", above, "at most", _MORE_MS),
    ]


def _median(values: Any) -> float:
    return statistics.median(values)


def table(told: dict[str, list[dict[str, Any]]], rate: float) -> None:
    heads = ("", "thumbs/s", "core busy", "p99 full load", f"p50 at {rate:g}/s", f"p99 at {rate:g}/s", "client busy")
    rows: list[list[str]] = []
    for number, name in itertools.product(range(len(told["bare"])), told):
        one = told[name][number]
        rows.append([f"{name} {number + 1}", f"{one['per_second']:.0f}", f"{one['cpu_share']:.0%}"])
        rows[-1] += [f"{one[k]:.2f} ms" for k in ("p99_at_full_load", "p50_at_rate", "p99_at_rate")]
        rows[-1] += [f"{one['client_share_at_rate']:.0%}"]
    print_table(heads, rows)


def measure(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], list[Bar]]:
    data = folder / "state"
    data.mkdir()
    key = make_key(f"sqlite:///{data / 'service.db'}")
    within = ["taskset", "-c", str(options.server_core)]
    service = ServiceProcess(data, within=within)
    bare = ServiceProcess(data, within=within, module="tests.benchmarks.bare_server")
    os.sched_setaffinity(0, {options.client_core})
    plan = Plan(options.seconds, options.connections, options.rate, options.client_core, key, folder)
    disk = {"file_system": file_system(folder), "fsync_ms_before": fsync_milliseconds(folder)}
    try:
        for server in (service, bare):
            server.start()
            server.wait_ready()
        bring_turns(service.url, key)
        told = compare(service, bare, plan, options.rounds)
    finally:
        service.stop()
        bare.stop()
    disk["fsync_ms_after"] = fsync_milliseconds(folder)
    print(f"disk: {disk}")
    table(told, options.rate)
    return {"disk": disk, "rounds": told}, bars_of(told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=15, help="of each kind of load, per server and round")
    parser.add_argument("--rate", type=float, default=1000.0, help="requests per second of the constant load")
    parser.add_argument("--connections", type=int, default=64, help="of wrk")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=OUT, help="where the state lies: its disk is what is measured")
    parser.add_argument("--out", type=Path, default=OUT / "feedback_throughput.json")
    options = parser.parse_args()
    if missing := [name for name in ("wrk", "taskset") if shutil.which(name) is None]:
        print(f"not installed: {', '.join(missing)} (apt-get install wrk util-linux)", file=sys.stderr)
        return 2
    options.folder.mkdir(parents=True, exist_ok=True)
    if file_system(options.folder) in ("tmpfs", "ramfs"):
        print(f"{options.folder} is memory and no disk: name another one with --folder", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report, bars = measure(options, Path(folder))
    return finish(report, bars, options.out)


if __name__ == "__main__":
    sys.exit(main())

"""What the benchmarks share: quantiles, bars, tables, figures below `build/`, and what disk and processor really do."""

import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "benchmarks"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Bar(NamedTuple):
    """A figure and what it has to be."""

    what: str
    value: float
    sense: Literal["at least", "at most"]
    bar: float

    @property
    def met(self) -> bool:
        return self.value >= self.bar if self.sense == "at least" else self.value <= self.bar


def finish(report: dict[str, Any], bars: Sequence[Bar], out: Path) -> int:
    """Print the bars, write everything to `out`; the exit status is 0 only when all of them are met."""
    rows = [(b.what, f"{b.value:.3f}", f"{b.sense} {b.bar:g}", "met" if b.met else "MISSED") for b in bars]
    print_table(("bar", "value", "wanted", ""), rows)
    told = {b.what: {"value": b.value, b.sense.replace(" ", "_"): b.bar, "met": b.met} for b in bars}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**report, "bars": told}, indent=2) + "\n")
    print(f"figures in {out}")
    return 0 if all(b.met for b in bars) else 1


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    print()
    for first, *others in cells:
        right = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print("  ".join((first.ljust(widths[0]), *right)).rstrip())
    print(flush=True)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def deciles(samples: Sequence[float]) -> list[float]:
    """The medians of ten equal stretches of a series, in its order; of fewer samples than ten, each sample."""
    parts = min(10, len(samples))
    edges = [len(samples) * i // parts for i in range(parts + 1)]
    return [statistics.median(samples[a:b]) for a, b in itertools.pairwise(edges)]


def fsync_milliseconds(folder: Path, count: int = 300) -> dict[str, float]:
    """What the disk below `folder` takes for an append of 4 KiB and its fsync."""
    file, taken = folder / "fsync.probe", list[float]()
    with file.open("wb", buffering=0) as probe:
        for _ in range(count):
            begun = time.perf_counter()
            probe.write(os.urandom(4096))
            os.fsync(probe.fileno())
            taken.append((time.perf_counter() - begun) * 1000)
    file.unlink()
    return {"p50": quantile(taken, 0.5), "p99": quantile(taken, 0.99)}


def file_system(folder: Path) -> str:
    """Kind of the file system that `folder` lies on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    here = folder.resolve()
    return max((len(at), kind) for at, kind in mounts if here.is_relative_to(at))[1]


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have used so far."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / _TICKS


def memory_mib(pid: int) -> float:
    """Resident memory of a process; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 2**20
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


@dataclass
class CpuShare:
    """Of one core, filled in when the block of `cpu_share` ends."""

    share: float = 0.0


@contextmanager
def cpu_share(pid: int) -> Iterator[CpuShare]:
    """How busy a process kept one core during the block: 1.0 is all the time."""
    found, used, begun = CpuShare(), cpu_seconds(pid), time.perf_counter()
    yield found
    found.share = (cpu_seconds(pid) - used) / (time.perf_counter() - begun)

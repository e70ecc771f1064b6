"""The runs of the experiments: every arm with every seed, each in a folder of its own, none made twice."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from thumbwheel import ThumbwheelError
from thumbwheel.commands.child import tied
from thumbwheel_demo.report.record import Report, read_report

ARMS: Mapping[str, tuple[str, ...]] = {
    "full": (),
    "sft-only": ("--stages", "sft"),
    "thumbs-only": ("--corrections", "0"),
    "thumbs-shuffled": ("--corrections", "0", "--shuffle-votes"),
}
"""Options of `thumbwheel demo` by arm: all of it, corrections alone, thumbs alone, thumbs that say nothing."""
SEEDS = (1, 2, 3)


class RunFailed(ThumbwheelError):
    """A run of the demo ended without its report; the message says where its log is."""


@dataclass(frozen=True)
class Cell:
    """One run."""

    arm: str
    seed: int
    folder: Path
    extra: tuple[str, ...] = ()
    """Options for every run, e.g. `--chats 400`."""

    def arguments(self) -> list[str]:
        """Options of `thumbwheel demo`."""
        return [*ARMS[self.arm], "--seed", str(self.seed), "--out", str(self.folder), *self.extra]

    def finished(self) -> Report | None:
        """Its report, if an earlier call made it with the very same options."""
        try:
            if (self.folder / "arguments.json").read_bytes() != msgspec.json.encode(self.arguments()):
                return None
            return read_report(self.folder / "report.json")
        except (FileNotFoundError, msgspec.MsgspecError):
            return None


def cells(out: Path, arms: Sequence[str], seeds: Sequence[int], extra: tuple[str, ...]) -> list[Cell]:
    """All runs, seed by seed, so that a first comparison is there after the first seed."""
    return [Cell(arm, seed, out / f"{arm}-{seed}", extra) for seed in seeds for arm in arms]


def run_cell(cell: Cell) -> Report:
    """Run the demo in a process of its own and return its report; raises `RunFailed`."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    for name in ("report.json", "arguments.json"):
        (cell.folder / name).unlink(missing_ok=True)
    with (cell.folder / "demo.log").open("wb") as log:
        command = tied("thumbwheel.cli", "demo", *cell.arguments())
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode
    if status != 0:
        raise RunFailed(f"{cell.arm}, seed {cell.seed}: ended with status {status}; see {cell.folder / 'demo.log'}")
    (cell.folder / "arguments.json").write_bytes(msgspec.json.encode(cell.arguments()))
    return read_report(cell.folder / "report.json")


def run_all(
    todo: Sequence[Cell], run: Callable[[Cell], Report], say: Callable[[str], None]
) -> tuple[dict[tuple[str, int], Report], list[str]]:
    """Every report by arm and seed, and what failed; finished runs are read, failed ones do not stop the others."""
    reports: dict[tuple[str, int], Report] = {}
    failures: list[str] = []
    took: list[float] = []
    missing = [cell for cell in todo if cell.finished() is None]
    for cell in todo:
        done = cell.finished()
        name = f"{cell.arm}, seed {cell.seed}"
        if done is not None:
            reports[cell.arm, cell.seed] = done
            say(f"{name}: already there")
            continue
        left = len(missing) - len(took) - len(failures)
        remaining = f", about {left * sum(took) / len(took) / 60:.0f} min left" if took else ""
        say(f"{name}: running ({left} to go{remaining})")
        started = time.monotonic()
        try:
            reports[cell.arm, cell.seed] = run(cell)
        except RunFailed as error:
            failures.append(str(error))
            say(f"failed: {error}")
            continue
        took.append(time.monotonic() - started)
        say(f"{name}: {_gain(reports[cell.arm, cell.seed])} in {took[-1]:.0f} s")
    return reports, failures


def _gain(report: Report) -> str:
    return f"gain {report.versions[-1].gain.mean * 100:+.1f} points"

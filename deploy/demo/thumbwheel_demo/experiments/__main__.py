"""`python -m thumbwheel_demo.experiments [NAME …]`: the experiments one after the other, and which bars they met.

Without names all of them, which takes a day; `--list` says what each is about. Finished parts of an earlier call are
not made again. What follows `--` goes to the one experiment that is named, such as its `--help`.
"""

import argparse
import ast
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from thumbwheel.commands.child import tied

HERE = Path(__file__).parent
SAID = {0: "done, bars met", 1: "a bar is missed", 130: "stopped"}
Run = Callable[[str, Sequence[str]], int]


class Done(NamedTuple):
    """One experiment of this call."""

    name: str
    status: int
    seconds: float

    @property
    def said(self) -> str:
        """Its exit status in words."""
        return SAID.get(self.status, f"did not run (exit status {self.status})")


def experiments() -> dict[str, str]:
    """Name -> what it is about: every folder here that can be run, by the first sentence of its docstring."""
    found = {file.parent.name: ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "" for file in _runnable()}
    firsts = {name: " ".join(text.partition("\n\n")[0].split()) for name, text in found.items()}
    return {name: text.partition(": ")[2].partition(". ")[0].rstrip(".") for name, text in firsts.items()}


def parser(known: Mapping[str, str]) -> argparse.ArgumentParser:
    """Options."""
    made = argparse.ArgumentParser(prog="thumbwheel_demo.experiments", description=__doc__)
    made.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    made.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(known)} (default all)")
    return made


def main(arguments: Sequence[str] | None = None, run: Run | None = None) -> int:
    """1 when any of them missed a bar or did not run, 130 on Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    cut = given.index("--") if "--" in given else len(given)
    known, console = experiments(), Console()
    made = parser(known)
    options, passed = made.parse_args(given[:cut]), given[cut + 1 :]
    names: list[str] = options.names or list(known)
    if options.list:
        for name, text in known.items():
            console.print(f"[bold]{name}[/]  {text}", highlight=False)
        return 0
    if unknown := [name for name in names if name not in known]:
        made.error(f"there is no experiment {unknown[0]!r}; there are {', '.join(known)}")
    if passed and len(names) != 1:
        made.error("options after -- go to one experiment: name it")
    done = [_timed(name, passed, run or _process, console) for name in names]
    table = Table("experiment", "outcome", "minutes", title="Experiments", title_justify="left")
    for one in done:
        table.add_row(one.name, one.said, f"{one.seconds / 60:.1f}")
    console.print(table)
    worst = max(one.status for one in done)
    return worst if worst in SAID else 1


def _runnable() -> list[Path]:
    return sorted(HERE.glob("*/__main__.py"))


def _timed(name: str, passed: Sequence[str], run: Run, console: Console) -> Done:
    console.rule(name)
    started = time.monotonic()
    return Done(name, run(name, passed), time.monotonic() - started)


def _process(name: str, passed: Sequence[str]) -> int:
    """In a process of its own: an experiment that falls takes none of the others with it."""
    return subprocess.call(tied(f"thumbwheel_demo.experiments.{name}", *passed))


if __name__ == "__main__":
    sys.exit(main())

"""Processes from outside: who is whose child, what it was started as, and how it ends."""

import os
import subprocess
from pathlib import Path


def command_of(pid: int) -> str:
    """The command line, empty when the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def parents() -> dict[int, int]:
    """Parent by process."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def descendants(root: int) -> list[int]:
    """Every process below `root` that still runs."""
    of = parents()
    found, edge = [], [root]
    while edge:
        edge = [pid for pid, parent in of.items() if parent in edge]
        found += edge
    return [pid for pid in found if command_of(pid)]


def child_of(root: int, word: str) -> int:
    """The one direct child of `root` whose command line holds `word`."""
    of = parents()
    found = [pid for pid, parent in of.items() if parent == root and word in command_of(pid).split()]
    assert len(found) == 1, (
        f"{len(found)} children of {root} are a {word!r}: {[command_of(p) for p in descendants(root)]}"
    )
    return found[0]


def is_alive(pid: int) -> bool:
    """Whether the process still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return bool(command_of(pid))


def end(process: subprocess.Popen[bytes] | None, how: int, seconds: float = 30.0) -> int:
    """The exit status after the signal `how`, or after SIGKILL where that takes too long; 0 without a process."""
    if process is None:
        return 0
    process.send_signal(how)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()

"""What `strace -f -y` wrote, as calls; and whether a sync lies between a request's arrival and its answer."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

RECEIVES = frozenset({"read", "readv", "recvfrom", "recvmsg"})
SENDS = frozenset({"write", "writev", "sendto", "sendmsg"})
WRITES = frozenset({"pwrite64", "pwritev", "write", "writev"})
SYNCS = frozenset({"fsync", "fdatasync"})
TRACED = tuple(sorted(RECEIVES | SENDS | WRITES | SYNCS))

_BEGUN = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_UNFINISHED = "<unfinished ...>"
_DESCRIPTOR = re.compile(r"\d+<(?P<path>.*?)>(?=[,)]|$)")
_ASKED = re.compile(r"POST \S+ HTTP/1\.1\\r\\n")
_ANSWERED = re.compile(r"HTTP/1\.1 (?P<status>2\d\d) ")


class Call(NamedTuple):
    """A system call that has returned; `began` and `ended` are line numbers, whose order is the order of events."""

    pid: int
    name: str
    arguments: str
    result: str
    began: int
    ended: int

    @property
    def path(self) -> str:
        """What the descriptor that comes first stands for: a file, or `socket:[…]`."""
        found = _DESCRIPTOR.match(self.arguments)
        return found["path"] if found else ""

    @property
    def is_on_socket(self) -> bool:
        return self.path.startswith(("socket:", "TCP:"))


class Chain(NamedTuple):
    """What happened to one request that was answered with a 2xx."""

    marker: str
    synced: bool
    """A sync of the right file began after the request had arrived, and had succeeded when its 2xx was sent."""
    own: bool
    """And between arrival and that sync the request's own bytes were written to that file."""


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """Every call that returned; what was interrupted in the trace by another thread's call is put together again."""
    open_calls: dict[int, tuple[str, str, int]] = {}
    for number, line in enumerate(lines):
        text = line.rstrip("\n")
        if resumed := _RESUMED.match(text):
            pid = int(resumed["pid"])
            name, head, began = open_calls.pop(pid, (resumed["name"], "", number))
            yield from _finished(pid, name, head + resumed["rest"], began, number)
        elif begun := _BEGUN.match(text):
            pid, name, rest = int(begun["pid"]), begun["name"], begun["rest"]
            if rest.endswith(_UNFINISHED):
                open_calls[pid] = (name, rest.removesuffix(_UNFINISHED).rstrip(), number)
            else:
                yield from _finished(pid, name, rest, number, number)


def _finished(pid: int, name: str, text: str, began: int, ended: int) -> Iterator[Call]:
    arguments, equals, result = text.rpartition(") = ")
    if not equals:
        arguments, equals, result = text.rpartition(" = ")
        arguments = arguments.rstrip().removesuffix(")")
    if equals:
        yield Call(pid, name, arguments, result.strip(), began, ended)


def chains(traced: Sequence[Call], marker: re.Pattern[str], is_log: Callable[[Call], bool]) -> list[Chain]:
    """Every request that was answered with a 2xx, found by the `marker` that it and its answer bear.

    `is_log` tells the calls on the file whose sync makes a commit durable, in the process that has to make it.
    """
    arrived: dict[str, int] = {}
    written: dict[str, list[int]] = {}
    syncs: list[Call] = []
    found: list[Chain] = []
    for call in sorted(traced, key=lambda one: one.began):
        if call.name in SYNCS and call.result == "0" and is_log(call):
            syncs.append(call)
        elif call.name in RECEIVES and call.is_on_socket and _ASKED.search(call.arguments):
            arrived |= dict.fromkeys(marker.findall(call.arguments), call.ended)
        elif call.name in WRITES and is_log(call):
            for name in marker.findall(call.arguments):
                written.setdefault(name, []).append(call.ended)
        elif call.name in SENDS and call.is_on_socket and _ANSWERED.search(call.arguments):
            found += [
                _chain(name, call.began, arrived[name], written.get(name, []), syncs)
                for name in dict.fromkeys(marker.findall(call.arguments))
                if name in arrived
            ]
    return found


def _chain(marker: str, answered: int, arrived: int, written: Sequence[int], syncs: Sequence[Call]) -> Chain:
    between = [sync for sync in syncs if arrived < sync.began and sync.ended < answered]
    own = any(arrived < at < sync.began for sync in between for at in written)
    return Chain(marker, bool(between), own)

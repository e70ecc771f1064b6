"""How a check is shown: progress while it reads, and the verdict."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
from sqlalchemy import make_url

from thumbwheel_learner.replay.compare import Comparison, Identity
from thumbwheel_learner.replay.rebuild import Progress

if TYPE_CHECKING:
    from rich.console import Console

_LINE_EVERY_S = 10.0


def shown(url: str) -> str:
    """A database's URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


class Watching:
    """Shows `Progress`: in place on a terminal, a line now and then elsewhere. A context manager."""

    def __init__(self, out: "Console") -> None:
        self._out = out
        self._status = out.status("asking the bus how much there is")
        self._said = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Show it, if it is time."""
        share = progress.done / progress.total if progress.total else 1.0
        text = f"{progress.done:,} of {progress.total:,} records read ({share:.0%})"
        if progress.waiting:
            text += f", waiting: {progress.waiting}"
        if self._out.is_terminal:
            self._status.update(text)
        elif time.monotonic() - self._said >= _LINE_EVERY_S:
            self._said = time.monotonic()
            self._out.print(text, markup=False)

    def __enter__(self) -> Self:
        if self._out.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()


def figures(found: Comparison) -> dict[str, Any]:
    """The comparison as plain objects."""
    return msgspec.to_builtins(found)


def print_verdict(out: "Console", found: Comparison, rebuilt: str) -> None:
    """What was compared, what differs, and what to do about it."""
    rows = ", ".join(f"{count:,} {table}" for table, count in found.rows.items())
    out.print(f"on the bus: {rows}", markup=False)
    if found.unread:
        out.print(f"{found.unread} policy events are not read by the learner yet", markup=False)
    if found.equal:
        out.print("equal: the store says what the bus says", markup=False)
        return
    for table, kinds in found.differences.items():
        told = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
        out.print(f"DIFFERENT {table}: {told}", markup=False)
    for one in found.examples:
        key = " ".join(one.key)
        out.print(f"  {one.table} {key}: {one.kind}; store {_short(one.store)}, bus {_short(one.bus)}", markup=False)
    if found.mendable:
        out.print(
            "missing, older, altered: stop the learner, `thumbwheel replay rewind --from beginning`, start it again",
            markup=False,
        )
    if any(kind in kinds for kinds in found.differences.values() for kind in ("newer", "extra")):
        out.print("newer, extra: the bus knows nothing of it, and reading again leaves it as it is", markup=False)
    out.print(f"the rebuild is kept in {rebuilt}", markup=False)


def _short(identity: Identity | None) -> str:
    return f"{identity.event_id} r{identity.revision} {identity.digest[:12]}" if identity else "–"

"""Progress for people: what is going on now, and how long what came before took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from thumbwheel_demo.report.record import Phase

LINE_EVERY_S = 15.0


class Stopwatch:
    """Phases of a run, printed as they pass; on a terminal with a live line, elsewhere with a line now and then."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.phases: list[Phase] = []
        self._started = time.monotonic()
        self._status: Status | None = None
        self._phase = ""
        self._last_line = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of the run under a name."""
        started = time.monotonic()
        self._phase, self._last_line = name, started
        if self.console.is_terminal:
            self._status = self.console.status(name)
            self._status.start()
        try:
            yield
        finally:
            if self._status is not None:
                self._status.stop()
                self._status = None
            seconds = time.monotonic() - started
            self.phases.append(Phase(name, seconds))
        self.console.print(f"[dim]{self._clock()}[/] {name} [dim]{seconds:.1f} s[/]", highlight=False, soft_wrap=True)

    def now(self, detail: str) -> None:
        """Say what is happening inside the phase."""
        if self._status is not None:
            self._status.update(f"[dim]{self._clock()}[/] {self._phase}: {detail}")
        elif time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.console.print(f"[dim]{self._clock()}[/]   {self._phase}: {detail}", highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(f"[dim]{self._clock()}[/]   {text}", highlight=False, soft_wrap=True)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._started)
        return f"{seconds // 60:02d}:{seconds % 60:02d}"

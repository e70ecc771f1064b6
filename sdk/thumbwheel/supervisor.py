"""Child processes that are started in order, watched, restarted with backoff, and stopped in reverse order."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from thumbwheel.commands.child import tied
from thumbwheel.errors import ThumbwheelError

Say = Callable[[str], None]


class ChildFailed(ThumbwheelError):
    """A child ended before it was ever ready; the message ends with the last lines of its log."""


class Child:
    """One process running `python -m module`, its output in a log file (or on this terminal when `log` is None).

    It has a process group of its own, so that Ctrl-C reaches the supervisor alone, which then stops its children in
    order. On Linux it is told to end when the supervisor dies, however it dies.
    """

    def __init__(
        self, name: str, module: str, environment: Mapping[str, str], log: Path | None, *, steady_s: float = 60.0
    ) -> None:
        self.name = name
        self._module = module
        self._environment = dict(environment)
        self._log = log
        self._steady_s = steady_s
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._failures = 0
        self._restart_at: float | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process."""
        output: IO[Any] | None = None
        if self._log is not None:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            output = self._log.open("ab")
        try:
            self._process = subprocess.Popen(
                tied(self._module),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                process_group=0,
            )
        finally:
            if output is not None:
                output.close()
        self._began = time.monotonic()
        self._restart_at = None

    def ended(self) -> int | None:
        """The exit status, when it was started and has ended."""
        return None if self._process is None else self._process.poll()

    def watch(self, say: Say, *, backoff_s: float = 1.0, most_s: float = 30.0) -> None:
        """Once in a while: restart the process when it has ended, later each time it ends soon after its start."""
        status = self.ended()
        if status is None:
            return
        now = time.monotonic()
        if self._restart_at is None:
            self._failures = 1 if now - self._began > self._steady_s else self._failures + 1
            wait = min(most_s, backoff_s * 2 ** (self._failures - 1))
            self._restart_at = now + wait
            say(f"{self.name} ended ({describe(status)}); starting it again in {wait:g} s{self.where()}")
        elif now >= self._restart_at:
            self.start()

    def where(self) -> str:
        """Where its output is."""
        return "" if self._log is None else f" (log: {self._log})"

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        try:
            text = "" if self._log is None else self._log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the process and all it has started."""
        self._signal(signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within that time."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: int) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        try:
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        except ProcessLookupError:
            pass


def describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def wait_ready(child: Child, is_ready: Callable[[], bool], stop: Callable[[], bool], *, every_s: float = 0.2) -> bool:
    """Until the child is ready (True) or a stop is asked for (False); raises `ChildFailed` when it ends before."""
    while not stop():
        status = child.ended()
        if status is not None:
            tail = child.tail()
            raise ChildFailed(f"{child.name} did not start ({describe(status)})" + (f":\n\n{tail}" if tail else ""))
        if is_ready():
            return True
        time.sleep(every_s)
    return False


def stop_all(children: list[Child], say: Say, *, patience_s: float, hurry: Callable[[], bool]) -> None:
    """Stop in the order given, each within `patience_s`, at once when somebody is in a `hurry`; then kill."""
    for child in children:
        if child.ended() is not None or child.pid is None:
            continue
        say(f"stopping {child.name}")
        child.ask_to_stop()
        deadline = time.monotonic() + patience_s
        while not child.wait(0.1):
            if hurry() or time.monotonic() > deadline:
                say(f"{child.name} does not stop; killing it")
                child.kill()
                child.wait(10)
                break

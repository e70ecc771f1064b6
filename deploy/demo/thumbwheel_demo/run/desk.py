"""The real thing on a fresh folder: `thumbwheel up` as a child, its log in a file, stopped whatever happens."""

import asyncio
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from thumbwheel import AsyncClient, ThumbwheelError

START_S = 600.0
STOP_S = 120.0
TAIL_LINES = 15


class DeskFailed(ThumbwheelError):
    """Service or learner did not start or did not stay up; the message ends with the last lines of their log."""


@dataclass(frozen=True, kw_only=True)
class DeskPlan:
    """Where and how service and learner run."""

    folder: Path
    """Its `data` is made anew; the log lies beside it."""
    model: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Settings on top of this process's own environment."""

    @property
    def data(self) -> Path:
        """State of service and learner."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the supervisor says; service and learner have logs of their own in `data/logs`."""
        return self.folder / "desk.log"


class Desk:
    """Service and learner under supervision, from `async with` to its end."""

    def __init__(self, plan: DeskPlan) -> None:
        self.plan = plan
        self.url = ""
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        shutil.rmtree(self.plan.data, ignore_errors=True)
        self.plan.data.mkdir(parents=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "thumbwheel.commands.child", str(os.getpid()), "thumbwheel.cli"]
        command += ["up", "--port", str(port), "--data", str(self.plan.data)]
        if self.plan.model:
            command += ["--model", self.plan.model]
        with self.plan.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        """The supervising process; raises `DeskFailed` before the start."""
        if self._process is None:
            raise DeskFailed("service and learner were not started yet")
        return self._process.pid

    async def ended(self) -> int:
        """Wait until service and learner have ended by themselves; the exit status."""
        if self._process is None:
            raise DeskFailed("service and learner were not started yet")
        return await self._process.wait()

    def environment(self) -> dict[str, str]:
        """What the children see: this process's own environment without its Thumbwheel settings, and the plan's."""
        return {**clean_environment(os.environ), **self.plan.environment}

    async def ready(self, on_wait: Callable[[float], None] = lambda _: None) -> None:
        """Wait until the service answers `/readyz`; raises `DeskFailed`."""
        started = time.monotonic()
        async with httpx.AsyncClient(trust_env=False, timeout=5.0) as http:
            while time.monotonic() - started < START_S:
                self.check()
                with suppress(httpx.HTTPError):
                    if (await http.get(f"{self.url}/readyz")).is_success:
                        return
                on_wait(time.monotonic() - started)
                await asyncio.sleep(0.25)
        raise DeskFailed(f"the service was not ready after {START_S:.0f} s\n{self.tail()}")

    def check(self) -> None:
        """Raise `DeskFailed` if service and learner are gone."""
        if self._process is not None and self._process.returncode is not None:
            raise DeskFailed(f"service and learner ended with status {self._process.returncode}\n{self.tail()}")

    def client(self, *, max_retries: int = 2) -> AsyncClient:
        """A client as the operator of this desk."""
        key = (self.plan.data / "admin.key").read_text(encoding="utf-8").strip()
        return AsyncClient(self.url, api_key=key, max_retries=max_retries)

    def tail(self) -> str:
        """The last lines of every log, for an error message."""
        lines: list[str] = []
        for log in (self.plan.log, *sorted((self.plan.data / "logs").glob("*.log"))):
            with suppress(OSError):
                said = log.read_text(encoding="utf-8", errors="replace").splitlines()
                lines += [f"the end of {log}:", *said[-TAIL_LINES:]]
        return "\n".join(lines)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is None:
            return
        stopping = asyncio.ensure_future(self._stop(process))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await stopping
            raise

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        """Ask first, then insist: nothing of the group may stay."""
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def free_port() -> int:
    """A port of the loopback interface that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the caller's own Thumbwheel settings: a run of the demo must not touch somebody's real service."""
    return {name: value for name, value in environment.items() if not name.startswith("THUMBWHEEL_")}

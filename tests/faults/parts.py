"""What a kill may hit: service, learner, broker, database; all are started, waited for and killed the same way."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx
from tests.brokers import LocalBroker
from tests.databases import postgres_server

from thumbwheel.commands.child import tied

READY_S = 300.0
RESTART_S = 1.0
MANY_RESTARTS = 100


class Part(Protocol):
    """One process that may die at any moment."""

    name: str

    async def start(self, failpoint: str | None) -> None:
        """Start it and wait until it works or has died at its failpoint."""
        ...

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        ...

    def is_dead(self) -> bool: ...

    async def stop(self) -> None:
        """In good order."""
        ...


class NotReady(Exception):
    """A part did not come up, or ended in a way that nobody made it."""


class ProcessPart:
    """`python -m MODULE` with settings in its environment; the log lies beside the data.

    Where it ends by itself, because what it needs is down just then, it is started again, as any supervisor would.
    """

    def __init__(self, name: str, module: str, environment: Mapping[str, str], log: Path, probe: str | None) -> None:
        self.name = name
        self._module = module
        self._environment = environment
        self._log = log
        self._probe = probe
        self._process: subprocess.Popen[bytes] | None = None
        self._failpoint: str | None = None
        self._spawned = 0.0
        self.restarts = 0

    async def start(self, failpoint: str | None) -> None:
        self._failpoint = failpoint
        self._process = self._spawn()
        deadline = time.monotonic() + READY_S
        while not self.is_dead() and not await self._is_ready():
            if time.monotonic() > deadline:
                raise NotReady(f"{self.name} was not ready after {READY_S:.0f} s; see {self._log}")
            await asyncio.sleep(0.05)

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._spawned = time.monotonic()
        environment = {**self._environment, **({"FAULTS_FAILPOINT": self._failpoint} if self._failpoint else {})}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                tied(self._module),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    async def _is_ready(self) -> bool:
        if self._probe is None:
            return True
        async with httpx.AsyncClient(trust_env=False, timeout=2.0) as http:
            with contextlib.suppress(httpx.HTTPError):
                return (await http.get(self._probe)).is_success
        return False

    def is_dead(self) -> bool:
        """By SIGKILL; raises `NotReady` when it keeps ending by itself."""
        status = self._process.poll() if self._process else -signal.SIGKILL
        if status in (None, -signal.SIGKILL):
            return status is not None
        if self.restarts >= MANY_RESTARTS:
            raise NotReady(f"{self.name} keeps ending by itself, now with status {status}; see {self._log}")
        if time.monotonic() - self._spawned > RESTART_S:
            self.restarts += 1
            self._process = self._spawn()
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        status = await asyncio.to_thread(self._process.wait, 60)
        if status not in (0, -signal.SIGTERM):
            raise NotReady(f"{self.name} stopped with status {status}; see {self._log}")


class BrokerPart:
    """A real Apache Kafka; killed like the others."""

    name = "broker"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._broker = LocalBroker(folder)
        self._dead = False
        self.bootstrap = self._broker.bootstrap

    async def start(self, failpoint: str | None) -> None:
        if self._dead:
            await asyncio.to_thread(self._broker.start)
        self._dead = False

    def kill(self) -> None:
        self._dead = True
        self._broker.stop()

    def is_dead(self) -> bool:
        return self._dead

    async def stop(self) -> None:
        await asyncio.to_thread(self._broker.close)


class PostgresPart:
    """A real PostgreSQL; the kill hits its postmaster, and its children follow."""

    name = "postgres"

    def __init__(self, folder: Path) -> None:
        self._server: Any = postgres_server(folder, at_end="stop")
        self._dead = False
        self.url = str(self._server.get_uri())

    async def start(self, failpoint: str | None) -> None:
        if not self._dead:
            return
        deadline = time.monotonic() + READY_S
        while True:
            try:
                await asyncio.to_thread(self._server.ensure_postgres_running)
                break
            except (subprocess.SubprocessError, AssertionError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)
        self._dead = False

    def kill(self) -> None:
        self._dead = True
        pid = self._server.get_pid()
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.02)

    def is_dead(self) -> bool:
        return self._dead

    async def stop(self) -> None:
        await asyncio.to_thread(self._server.cleanup)

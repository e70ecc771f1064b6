"""A service process with everything real but the engine: `python -m tests.service_process` serves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from tests.brokers import free_port_pair
from tests.fake_engine import FakeEngine, served_from
from tests.processes import end

from thumbwheel_service.settings import Settings, from_environment

ROOT = Path(__file__).resolve().parents[1]


class ServiceProcess:
    """Started, killed and started again on the same state; `settings` are the variables without their prefix.

    `module` is for another server that reads the same variables.
    """

    def __init__(
        self, data: Path, *, within: Sequence[str] = (), module: str = "tests.service_process", **settings: str
    ) -> None:
        self.data = data
        self.port = free_port_pair()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data.with_name(f"{data.name}-{self.port}.log")
        self._command = [*within, sys.executable, "-m", module]
        self._settings = {"DATA": str(data), "PORT": str(self.port), **{k.upper(): v for k, v in settings.items()}}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        own = {f"THUMBWHEEL_{name}": value for name, value in self._settings.items()}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **own},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self, seconds: float = 90.0) -> None:
        deadline = time.monotonic() + seconds
        while not self._is_ready():
            assert self.is_alive, self.log.read_text()
            assert time.monotonic() < deadline, f"the service does not get ready: {self.log.read_text()}"
            time.sleep(0.05)

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        end(self._process, signal.SIGKILL)

    def stop(self) -> None:
        end(self._process, signal.SIGTERM)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False


def fake_engine(settings: Settings) -> FakeEngine:
    """For the checkpoint that the settings name, if any: then it takes adapters."""
    return FakeEngine(info=served_from(Path(settings.model)) if settings.model else None)


def main() -> int:
    from thumbwheel_service.server import run

    return run(from_environment(), fake_engine)


if __name__ == "__main__":
    sys.exit(main())

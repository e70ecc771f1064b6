"""One real service with real vLLM on a tiny model, shared by every test of the session."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest
from tests.adapters import published, write_artifact
from tests.processes import end
from tests.tiny_model import make_adapter, make_model

from thumbwheel import internal
from thumbwheel.artifact import base_fingerprint, signing_key
from thumbwheel.events import encode, topic_and_key, wrap
from thumbwheel.types import PolicyList, PolicyVersion, Turn

ROOT = Path(__file__).parents[2]
START_SECONDS = 280.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealService:
    """A running service and everything a test does to it from outside."""

    def __init__(self, folder: Path, model: Path, port: int) -> None:
        self.folder = folder
        self.model = model
        self.url = f"http://127.0.0.1:{port}"
        self.store = folder / "state" / "artifacts"
        self.key = signing_key(folder / "state" / "signing.key")
        self.fingerprint = base_fingerprint(model)
        self.public = httpx.Client(base_url=self.url, timeout=60.0)
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._openai = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60.0)
        self._admin: httpx.Client | None = None

    @property
    def admin(self) -> httpx.Client:
        if self._admin is None:
            token = (self.folder / "state" / "admin.key").read_text().strip()
            self._admin = httpx.Client(base_url=self.url, timeout=120.0, headers={"authorization": f"Bearer {token}"})
        return self._admin

    def client(self) -> openai.OpenAI:
        return self._openai

    def close(self) -> None:
        self._openai.close()
        self.public.close()
        if self._admin is not None:
            self._admin.close()

    def packed(self, path: str, body: Any, answer: Any) -> Any:
        response = self.admin.post(
            path, content=msgspec.msgpack.encode(body), headers={"content-type": internal.MSGPACK}
        )
        assert response.status_code == 200, response.text
        return msgspec.msgpack.decode(response.content, type=answer)

    def write(self, version: str, adapter: Path, *, artifact: str | None = None, **fields: Any) -> Path:
        base = fields.pop("base_model", self.fingerprint)
        key = fields.pop("key", self.key)
        return write_artifact(self.store, artifact or version, adapter, key, version=version, base_model=base, **fields)

    def announce(self, version: str, promote: str = "auto") -> None:
        event = published(self.store, version, promote=promote)
        topic, key = topic_and_key(event)
        entry = internal.LogEntry(topic.name, key, f"test/{version}", encode(wrap(event)))
        self.packed("/internal/log", internal.LogAppend(records=[entry]), internal.LogAppended)

    def policies(self) -> PolicyList:
        return msgspec.json.decode(self.admin.get("/v1/policies").content, type=PolicyList)

    def policy(self, version: str) -> PolicyVersion | None:
        return next((policy for policy in self.policies().policies if policy.version == version), None)

    def wait_for(self, version: str, *states: str) -> PolicyVersion:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            policy = self.policy(version)
            if policy is not None and policy.state in states:
                return policy
            time.sleep(0.02)
        raise AssertionError(f"{version} is {self.policy(version)}, not one of {states}")

    def swap_to(self, version: str, adapter: Path) -> PolicyVersion:
        self.write(version, adapter)
        self.announce(version)
        return self.wait_for(version, "live")

    def roll_back_to(self, version: str) -> None:
        response = self.admin.post("/v1/policies/rollback", json={"version": version})
        assert response.status_code == 200, response.text

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("sdk", "service", "deploy/demo")),
            "THUMBWHEEL_DATA": str(self.folder / "state"),
            "THUMBWHEEL_MODEL": str(self.model),
            "THUMBWHEEL_PORT": self.url.rpartition(":")[2],
        }
        command = [sys.executable, "-m", "thumbwheel_service"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended:\n{self.log.read_text()[-4000:]}")
            if self.is_ready():
                return
            time.sleep(0.1)
        raise AssertionError(f"the service is not ready after {START_SECONDS} s:\n{self.log.read_text()[-4000:]}")

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def is_ready(self) -> bool:
        try:
            return self.public.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """Stop the process as an operator would; returns its exit status."""
        return end(self.process, signal.SIGTERM, 60)

    def turn(self, completion_id: str, *states: str) -> Turn:
        """The turn once it has one of these statuses."""
        deadline = time.monotonic() + 20
        turn = None
        while time.monotonic() < deadline:
            response = self.public.get(f"/v1/turns/{completion_id}")
            if response.status_code == 200:
                turn = msgspec.json.decode(response.content, type=Turn)
                if turn.status in (states or ("complete",)):
                    return turn
            time.sleep(0.02)
        raise AssertionError(f"{completion_id}: {turn}")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def tiny_adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three adapters of rank 8 that move the policy far in different directions."""
    folder = tmp_path_factory.mktemp("adapters")
    return [make_adapter(tiny_model, folder / str(seed), rank=8, scale=1.0, seed=seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="session")
def one_service(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealService]:
    service = RealService(tmp_path_factory.mktemp("service"), tiny_model, free_port())
    try:
        yield service
    finally:
        service.close()
        service.stop()


@pytest.fixture
def real_service(one_service: RealService) -> RealService:
    """The session's service, started when it is not running."""
    if not one_service.is_running():
        one_service.start()
    return one_service


@pytest.fixture
def base_is_live(real_service: RealService) -> RealService:
    """The service with the base model live, whatever a test before has done."""
    real_service.roll_back_to("base")
    return real_service

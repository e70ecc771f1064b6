"""The real server process: it comes up, and a stop answers whoever is waiting and loses nothing."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
from tests.fakes import IdleEngine
from thumbwheel_service import server, settings
server.build_engine = lambda _: IdleEngine()
sys.exit(server.run(settings.from_environment()))
"""


def start(data: Path, port: int) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(str(ROOT / part) for part in (".", "sdk", "service"))
    environment = os.environ | {"PYTHONPATH": path, "THUMBWHEEL_DATA": str(data), "THUMBWHEEL_PORT": str(port)}
    return subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment)


def wait_until_ready(http: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the service ended by itself"
        try:
            if http.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the service did not become ready")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_long_polls_and_keeps_what_was_said(tmp_path: Path, how: signal.Signals) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(tmp_path, port)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            wait_until_ready(http, process)
            turn = {"messages": [{"role": "user", "content": "x"}], "answers": ["y"], "completion_id": "c"}
            assert http.post("/v1/turns", json=turn).status_code == 201
            key = (tmp_path / "admin.key").read_text().strip()
            answers: list[int] = []

            def poll() -> None:
                with httpx.Client(base_url=http.base_url, timeout=60) as waiting:
                    path = "/internal/log/thumbwheel.control/0?wait_ms=30000"
                    answers.append(waiting.get(path, headers={"authorization": f"Bearer {key}"}).status_code)

            poller = threading.Thread(target=poll)
            poller.start()
            time.sleep(0.5)
            began = time.monotonic()
            process.send_signal(how)
            poller.join(60)
            assert answers == [200]
        process.wait(60)
        assert time.monotonic() - began < 25
    finally:
        process.kill()
        process.wait()
    process = start(tmp_path, port)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            wait_until_ready(http, process)
            assert http.get("/v1/turns/c").json()["choices"][0]["text"] == "y"
    finally:
        process.kill()
        process.wait()

"""`thumbwheel up` with small stand-ins for service and learner: start, announce, restart, stop, die together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.processes import is_alive

from thumbwheel.cli import main
from thumbwheel.errors import ConfigurationError
from thumbwheel.supervisor import Child, ChildFailed, stop_all, wait_ready
from thumbwheel.up import Place, check_port, place_of, register

SERVICE = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

data = Path(os.environ["THUMBWHEEL_DATA"])
(data / "service.pid").write_text(str(os.getpid()))
if "fail" in os.environ.get("THUMBWHEEL_MODEL", ""):
    sys.exit("no such model: " + os.environ["THUMBWHEEL_MODEL"])

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", int(os.environ["THUMBWHEEL_PORT"])), Handler).serve_forever()
"""
LEARNER = """
import os, time
from pathlib import Path
data = Path(os.environ["THUMBWHEEL_DATA"])
with (data / "learner.starts").open("a") as starts:
    starts.write(f"{os.getpid()} {os.environ['THUMBWHEEL_URL']} {os.environ.get('THUMBWHEEL_API_KEY')}\\n")
time.sleep(600)
"""
UP = """
import os, sys
from pathlib import Path
from thumbwheel.supervisor import Child
from thumbwheel.up import Place, supervise

place = Place(Path(os.environ["THUMBWHEEL_DATA"]), "127.0.0.1", int(os.environ["THUMBWHEEL_PORT"]))
logs = place.data / "logs"
environment = {**os.environ, "THUMBWHEEL_URL": place.url}
service = Child("service", "stand_in_service", environment, logs / "service.log")
learner = Child("learner", "stand_in_learner", environment, logs / "learner.log")
sys.exit(supervise(place, service, learner, patience_s=20))
"""


class Running:
    """A `thumbwheel up` in a process of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.data = folder / "state"
        self.data.mkdir()
        (folder / "stand_in_service.py").write_text(SERVICE)
        (folder / "stand_in_learner.py").write_text(LEARNER)
        (folder / "run_up.py").write_text(UP)
        self.port = free_port()
        self.output = folder / "output"
        path = os.pathsep.join([str(folder), *filter(None, sys.path)])
        given = {"THUMBWHEEL_DATA": str(self.data), "THUMBWHEEL_PORT": str(self.port), "PYTHONPATH": path}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(folder / "run_up.py")],
                env={**os.environ, **given, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self.output.read_text()

    def service(self) -> int:
        return int((self.data / "service.pid").read_text())

    def learners(self) -> list[int]:
        starts = self.data / "learner.starts"
        return [int(line.split()[0]) for line in starts.read_text().splitlines()] if starts.exists() else []

    def wait_up(self) -> None:
        wait_for(lambda: "is up at" in self.said() and bool(self.learners()), lambda: self.said())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(**environment: str) -> Running:
        started.append(Running(tmp_path, **environment))
        return started[-1]

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def wait_for(condition: Callable[[], bool], complaint: Callable[[], str] = str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_announces_itself_and_stops_both_when_asked(start: Callable[..., Running], how: signal.Signals) -> None:
    up = start()
    up.wait_up()
    assert f"http://127.0.0.1:{up.port}" in up.said()
    assert str(up.data / "admin.key") in up.said()
    assert httpx.get(f"http://127.0.0.1:{up.port}/readyz", trust_env=False).status_code == 200
    children = [up.service(), *up.learners()]
    up.process.send_signal(how)
    assert up.process.wait(30) == 0
    assert not any(is_alive(pid) for pid in children)
    assert up.said().index("stopping learner") < up.said().index("stopping service")


def test_a_crashed_child_is_started_again_and_the_other_goes_on(start: Callable[..., Running]) -> None:
    up = start()
    up.wait_up()
    service, (learner,) = up.service(), up.learners()
    os.kill(learner, signal.SIGKILL)
    wait_for(lambda: len(up.learners()) == 2, up.said)
    assert "learner ended (killed by SIGKILL); starting it again in 1 s" in up.said()
    assert up.service() == service
    os.kill(service, signal.SIGKILL)
    wait_for(lambda: up.service() != service, up.said)
    up.process.terminate()
    assert up.process.wait(30) == 0


def test_a_service_that_cannot_start_is_told_with_its_last_words(start: Callable[..., Running]) -> None:
    up = start(THUMBWHEEL_MODEL="fail-model")
    assert up.process.wait(30) == 1
    assert "service did not start (exit status 1)" in up.said()
    assert "no such model: fail-model" in up.said()
    assert up.learners() == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_children_do_not_outlive_a_killed_parent(start: Callable[..., Running]) -> None:
    up = start()
    up.wait_up()
    children = [up.service(), *up.learners()]
    up.process.kill()
    up.process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in children))


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stubborn.py").write_text(
        "import signal, time, pathlib, os\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(os.environ['READY']).touch()\n"
        "time.sleep(600)\n"
    )
    ready = tmp_path / "ready"
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    child = Child("stubborn", "stubborn", {**os.environ, "PYTHONPATH": path, "READY": str(ready)}, tmp_path / "log")
    child.start()
    assert wait_ready(child, ready.exists, lambda: False)
    said: list[str] = []
    stop_all([child], said.append, patience_s=0.3, hurry=lambda: False)
    assert child.ended() == -signal.SIGKILL
    assert said[-1] == "stubborn does not stop; killing it"


def test_a_stop_while_waiting_is_obeyed(tmp_path: Path) -> None:
    child = Child("idle", "this", {**os.environ}, tmp_path / "log")
    assert wait_ready(child, lambda: False, lambda: True) is False
    child.start()
    with pytest.raises(ChildFailed, match="did not start"):
        wait_ready(child, lambda: False, lambda: False)


def test_a_port_that_is_taken_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port}"):
            check_port(Place(tmp_path, "127.0.0.1", port))


def arguments(*words: str):
    import argparse

    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    return parser.parse_args(["up", *words])


def test_arguments_go_before_the_environment_before_the_defaults(tmp_path: Path) -> None:
    environment = {"THUMBWHEEL_PORT": "8123", "THUMBWHEEL_HOST": "0.0.0.0", "THUMBWHEEL_DATA": str(tmp_path)}
    place = place_of(arguments(), environment)
    assert place == Place(tmp_path, "0.0.0.0", 8123)
    assert place.url == "http://127.0.0.1:8123"
    assert place_of(arguments("--port", "9", "--host", "::1"), environment).url == "http://[::1]:9"
    assert place_of(arguments(), {}).url == "http://127.0.0.1:8000"
    assert place_of(arguments("--port", "0"), {}).port > 0


@pytest.mark.parametrize("port", ["70000", "eighty", "-1"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(ConfigurationError, match="port"):
        place_of(arguments(), {"THUMBWHEEL_PORT": port})


def test_up_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["up", "--help"])
    assert left.value.code == 0
    assert "--no-learner" in capsys.readouterr().out

import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from thumbwheel.doctor import machine


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.mark.parametrize(("gib", "state"), [(1, "warn"), (4, "warn"), (16, "ok")])
def test_little_memory_is_a_warning(gib: int, state: str) -> None:
    assert machine.check_memory(gib << 30).state == state


def test_available_memory_is_a_plausible_number() -> None:
    assert 1 << 20 < machine.available_memory() < 1 << 50


def test_disk_and_fsync_work_for_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert machine.check_fsync(folder).state in ("ok", "warn")
    assert str(folder) in machine.check_disk(folder).found
    assert not folder.parent.exists()


def test_fsync_leaves_nothing_behind(tmp_path: Path) -> None:
    machine.check_fsync(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_state_folder_fails(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_text("")
    assert machine.check_state_folder(file).state == "fail"


def test_a_key_that_others_can_read_fails_and_the_mend_closes_it(tmp_path: Path) -> None:
    key = tmp_path / "admin.key"
    key.write_text("secret")
    key.chmod(0o644)
    finding = machine.check_state_folder(tmp_path)
    assert finding.state == "fail"
    assert finding.mend == f"chmod 600 {key}"
    key.chmod(0o600)
    assert machine.check_state_folder(tmp_path).state == "ok"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_fails(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert machine.check_state_folder(tmp_path).state == "fail"
    tmp_path.chmod(0o700)


def test_no_shared_memory_is_a_warning(tmp_path: Path) -> None:
    assert machine.check_shared_memory(tmp_path / "shm").state == "warn"


@pytest.mark.parametrize(("limit", "state"), [(256, "warn"), (4096, "ok"), (-1, "ok")])
def test_open_files(limit: int, state: str) -> None:
    assert machine.check_open_files(limit).state == state


def test_a_free_port_is_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert machine.check_port("127.0.0.1", str(port)).state == "ok"


def test_a_taken_port_is_a_warning(taken_port: int) -> None:
    assert machine.check_port("127.0.0.1", str(taken_port)).state == "warn"


def test_a_port_taken_by_a_service_of_ours_is_well() -> None:
    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        finding = machine.check_port("127.0.0.1", str(server.server_port))
        server.shutdown()
        thread.join()
    assert finding.state == "ok"
    assert "/healthz" in finding.found


@pytest.mark.parametrize("port", ["eight", "70000", "-1"])
def test_what_is_no_port_fails(port: str) -> None:
    assert machine.check_port("127.0.0.1", port).state == "fail"

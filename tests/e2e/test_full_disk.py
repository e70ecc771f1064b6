"""A service process whose disk is full, for real: 503, nothing lost, alive, and on it goes when there is room."""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest
from tests.ledger import Ledger, readiness
from tests.service_process import ServiceProcess

_MOUNTED = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=32m none "$0" && exec "$@"')


class Fault(Protocol):
    reason: str

    def strike(self) -> None: ...

    def mend(self) -> None: ...


class NoMoreBytes:
    """The kernel lets the process write nothing more to any file, its log included (EFBIG, and SIGXFSZ)."""

    reason = "disk I/O error"

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service

    def strike(self) -> None:
        self._limit(0)

    def mend(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        _, hard = resource.prlimit(self._service.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._service.pid, resource.RLIMIT_FSIZE, (size, hard))


class FullDisk:
    """The folder of the state is a small disk of its own, and somebody fills it (ENOSPC)."""

    reason = "database or disk is full"

    def __init__(self, service: ServiceProcess) -> None:
        self._disk = Path(f"/proc/{service.pid}/root{service.data}")
        self._filler = self._disk / "filler"

    def strike(self) -> None:
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    def mend(self) -> None:
        self._filler.unlink()


def can_mount(folder: Path) -> bool:
    tried = [*_MOUNTED, str(folder), "true"]
    return (
        shutil.which("unshare") is not None and subprocess.run(tried, capture_output=True, check=False).returncode == 0
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture(params=[NoMoreBytes, FullDisk])
def service(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[ServiceProcess, Fault]]:
    within: tuple[str, ...] = ()
    if request.param is FullDisk:
        if not can_mount(folder):
            pytest.skip("this machine lets nobody mount a disk of his own")
        within = (*_MOUNTED, str(folder))
    process = ServiceProcess(folder, within=within)
    process.start()
    try:
        process.wait_ready()
        yield process, request.param(process)
    finally:
        process.stop()


@pytest.fixture
async def http(service: tuple[ServiceProcess, Fault]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service[0].url) as client:
        yield client


async def test_a_full_disk_is_said_and_survived(service: tuple[ServiceProcess, Fault], http: httpx.AsyncClient) -> None:
    process, fault = service
    pid, ledger = process.pid, Ledger()
    async with ledger.crowd([http]):
        await ledger.grows(20)
        fault.strike()
        await ledger.shrugs(30)
        assert fault.reason in await readiness(http, False)
        for path in ("/healthz", "/metrics", "/v1/turns?limit=3", "/v1/status"):
            assert (await http.get(path)).status_code == 200, "reading needs no room"
        fault.mend()
        await ledger.grows(20)
    assert await readiness(http, True) == "ready"
    await ledger.check(http)
    assert process.is_alive
    os.kill(pid, 0)
    assert "thumbwheel_turns_lost_total 0.0" in (await http.get("/metrics")).text


async def test_a_database_file_that_is_taken_away_is_missed_at_once(tmp_path: Path) -> None:
    process = ServiceProcess(tmp_path / "state")
    process.start()
    try:
        process.wait_ready()
        async with httpx.AsyncClient(base_url=process.url) as http:
            ledger, file = Ledger(), process.data / "service.db"
            async with ledger.crowd([http], 1):
                await ledger.grows(5)
                file.rename(file.with_suffix(".away"))
                await ledger.shrugs(50)  # long enough for a look at the API keys, which is a read
                assert "is gone" in await readiness(http, False)
                assert not file.exists(), "an empty database in its place would look like a healthy one"
                file.with_suffix(".away").rename(file)
                await ledger.grows(5)
            await ledger.check(http)
    finally:
        process.stop()

"""Memory, disk and what the state folder can do on this machine."""

import os
import platform
import resource
import shutil
import socket
import stat
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx

from thumbwheel.doctor.finding import Finding, fail, ok, warn

GIB = 1 << 30
SECRET_SUFFIX = ".key"
JAVA_SECONDS = 20


def check_machine(data: Path, host: str, port: str) -> Iterator[Finding]:
    """Everything about this machine; `data` is the state folder, which need not exist yet."""
    yield check_memory(available_memory())
    yield check_disk(data)
    yield check_fsync(data)
    yield check_state_folder(data)
    yield check_shared_memory(Path("/dev/shm"))
    yield check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield check_port(host, port)
    yield check_java()


def available_memory() -> int:
    """Bytes this process may still use: the machine's, or the container's where that is less."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int((group / "memory.current").read_text()))
    return free


def check_memory(free: int) -> Finding:
    """The demo's service and learner together stay below 6 GiB; an SDK needs next to nothing."""
    found = f"{free / GIB:.1f} GiB free, {os.cpu_count()} cores"
    if free < 3 * GIB:
        return warn("memory", found, "service and learner on one machine want about 6 GiB, more with a larger model")
    if free < 6 * GIB:
        return warn("memory", found, "enough for the demo policy; a larger model may not fit beside its training")
    return ok("memory", found)


def check_disk(data: Path) -> Finding:
    """Room for the log, the databases and the policy versions."""
    free = shutil.disk_usage(existing(data)).free
    found = f"{free / GIB:.1f} GiB free for {data}"
    if free < GIB // 2:
        return fail("disk", found, "make room: without it nothing more can be acknowledged")
    if free < 5 * GIB:
        return warn("disk", found, "keep an eye on it: chats, feedback and policy versions are all kept")
    return ok("disk", found)


def check_fsync(data: Path) -> Finding:
    """A 2xx means: on disk. What one costs decides how fast acknowledgements are."""
    took: list[float] = []
    try:
        with tempfile.TemporaryFile(dir=existing(data)) as file:
            for _ in range(20):
                file.write(bytes(1024))
                file.flush()
                started = time.perf_counter()
                os.fsync(file.fileno())
                took.append((time.perf_counter() - started) * 1000)
    except OSError as error:
        return fail("fsync", f"cannot write and sync below {existing(data)}: {error}", "DATA= a folder on a local disk")
    found = f"{statistics.median(took):.1f} ms at the median of {len(took)}, {max(took):.1f} ms at most"
    if statistics.median(took) > 50:
        return warn("fsync", found, "every acknowledgement waits for one: a local disk is faster than a network one")
    return ok("fsync", found)


def existing(path: Path) -> Path:
    """The folder itself, or the nearest one above that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def check_state_folder(data: Path) -> Finding:
    """It can be written, and the keys inside are nobody else's to read."""
    if data.exists() and not data.is_dir():
        return fail("state", f"{data} is a file", "DATA= a folder")
    if not os.access(existing(data), os.W_OK | os.X_OK):
        return fail(
            "state", f"no permission to write below {existing(data)}", "chown or chmod it, or choose another DATA="
        )
    if not data.exists():
        return ok("state", f"{data} will be made at the first start")
    open_keys = [key.name for key in data.glob("*" + SECRET_SUFFIX) if stat.S_IMODE(key.stat().st_mode) & 0o077]
    if open_keys:
        paths = " ".join(str(data / name) for name in open_keys)
        return fail("state", f"others can read {', '.join(open_keys)}", f"chmod 600 {paths}")
    return ok("state", str(data))


def check_shared_memory(folder: Path) -> Finding:
    """vLLM's processes talk through it; containers often get 64 MiB."""
    if not folder.is_dir():
        return warn("shared memory", f"no {folder}", "vLLM may refuse to start; in Docker: --shm-size=1g")
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.2f} GiB free in {folder}"
    if free < GIB // 8:
        return warn("shared memory", found, "vLLM may fail to start; in Docker: --shm-size=1g")
    return ok("shared memory", found)


def check_open_files(limit: int) -> Finding:
    """Each stream in flight holds a socket."""
    if 0 <= limit < 1024:
        return warn("open files", f"at most {limit}", "ulimit -n 4096")
    return ok("open files", "no limit" if limit < 0 else f"at most {limit}")


def check_port(host: str, port: str) -> Finding:
    """Free, or taken by a service of ours."""
    if not port.isdigit() or int(port) > 65535:
        return fail("port", f"{port!r} is no port", "PORT= a number up to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except PermissionError:
            return fail("port", f"{host}:{port} is for root only", "PORT= a number from 1024 on")
        except OSError as error:
            return taken_port(host, port, error)
    return ok("port", f"{host}:{port} is free")


def taken_port(host: str, port: str, error: OSError) -> Finding:
    """Who answers there."""
    with suppress(httpx.HTTPError, httpx.InvalidURL):
        answer = httpx.get(f"http://{host}:{port}/healthz", timeout=2, trust_env=False)
        if answer.status_code == 200:
            return ok("port", f"{host}:{port}: a service answers /healthz there")
    return warn("port", f"{host}:{port}: {error.strerror or error}", "stop what listens there, or choose another PORT=")


def check_java() -> Finding:
    """Only tests against a real Kafka broker start one."""
    java = shutil.which("java")
    if java is None:
        return ok("java", "none, and none needed: the Kafka tests use a mock cluster")
    try:
        told = subprocess.run([java, "-version"], check=False, capture_output=True, text=True, timeout=JAVA_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ok("java", f"{java}, which does not say its version")
    lines = (told.stderr or told.stdout).strip().splitlines()
    return ok("java", (lines[0] if lines else java) + f", on {platform.machine()}")

"""One learner per data directory: an advisory lock that dies with its process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thumbwheel_learner.errors import LearnerError

LOCK_FILE = "learner.lock"


class AlreadyRunning(LearnerError):
    """Another learner holds this data directory."""


@contextmanager
def exclusive(data: Path) -> Iterator[None]:
    """Hold `data` for this process; the kernel lets go of it however the process ends. Raises `AlreadyRunning`."""
    data.mkdir(parents=True, exist_ok=True)
    handle = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunning(
                f"another learner (process {holder}) works on {data}; "
                "stop it first, or set THUMBWHEEL_DATA to another folder"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)

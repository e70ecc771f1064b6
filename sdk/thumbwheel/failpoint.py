"""Named moments at which a fault test makes a process die, so that its kills hit the moments that matter.

A pass costs one comparison unless a test has armed the process, which no setting does.
"""

import os
import signal
import threading

from thumbwheel.errors import ConfigurationError

NAMES = (
    "writer.committed",
    "relay.appended",
    "consume.storing",
    "consume.stored",
    "publish.files",
    "publish.written",
    "publish.announced",
)
"""Committed, not acknowledged · on the broker, the position not moved · in the learner's transaction · committed, not
reported · files without a manifest · an artifact not announced · announced, the version's state not moved."""

_lock = threading.Lock()
_armed: dict[str, int] = {}


def arm(where: str) -> None:
    """`relay.appended:3` ends this process by SIGKILL as it passes there for the third time.

    Raises `ConfigurationError`.
    """
    name, _, times = where.partition(":")
    if name not in NAMES or not times.isdecimal() or int(times) < 1:
        raise ConfigurationError(f"no failpoint {where!r}; known: {', '.join(NAMES)}, each with :<passes>")
    _armed[name] = int(times)


def reach(name: str) -> None:
    """Pass a failpoint."""
    if name not in _armed:
        return
    with _lock:
        _armed[name] -= 1
        if _armed[name] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

"""Times and identifiers on the wire."""

import secrets
import time


def now_ms() -> int:
    """Wall-clock time in milliseconds since the epoch, the unit of every timestamp on the wire."""
    return time.time_ns() // 1_000_000


def time_ordered() -> str:
    """32 hexadecimal digits: 48 bits of time, then 80 random ones (as in UUID version 7, RFC 9562).

    Indexes grow at their end, where pages are warm, and nobody guesses another's.
    """
    return f"{now_ms():012x}{secrets.token_hex(10)}"


def new_id(prefix: str) -> str:
    """A fresh identifier that names its kind, e.g. `fb-019a…`; see `time_ordered`."""
    return f"{prefix}-{time_ordered()}"

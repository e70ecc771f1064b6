"""How often a key may call: a budget per minute that refills evenly, kept in this process."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from thumbwheel_service.errors import TooMany

WINDOW_SECONDS = 60.0
HEADERS = "thumbwheel_rate_headers"
"""Key in the request's state under which a quota's headers wait for the response."""


class OverRate(TooMany):
    """The key has used up its budget for now."""


class Quota(NamedTuple):
    """What is left of a budget after a request."""

    limit: int
    """Requests per minute, and at once."""
    remaining: int
    reset_seconds: float
    """Until the whole budget is there again."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Spelt as OpenAI's clients know them."""
        values = {"limit": str(self.limit), "remaining": str(self.remaining), "reset": f"{self.reset_seconds:.3f}s"}
        return [(f"x-ratelimit-{name}-requests".encode(), value.encode()) for name, value in values.items()]


class Rates:
    """Budgets by caller, as the generic cell rate algorithm counts them (ITU-T I.371): one number per caller."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = per_minute
        self._step = WINDOW_SECONDS / per_minute
        self._clock = clock
        self._full_at: dict[str | None, float] = {}

    def spend(self, caller: str | None) -> tuple[Quota, OverRate | None]:
        """Take one request of `caller`'s budget; with an `OverRate`, and nothing taken, when there is none left."""
        now = self._clock()
        full_at = max(self._full_at.get(caller, now), now)
        missing = full_at + self._step - now
        # A whole budget is spent after `limit` steps; the tolerance is what floating point makes of that sum.
        if missing > WINDOW_SECONDS + 1e-6:
            wait = missing - WINDOW_SECONDS
            refusal = OverRate(f"over {self._limit} requests a minute; try again in {wait:.1f} s", retry_after=wait)
            return Quota(self._limit, 0, full_at - now), refusal
        self._full_at[caller] = full_at + self._step
        remaining = math.floor((WINDOW_SECONDS - missing) / self._step + 1e-6)
        return Quota(self._limit, remaining, missing), None

"""Waiting for something that happens by itself, with an end."""

import asyncio
from collections.abc import Callable


async def eventually(happened: Callable[[], object], seconds: float = 20.0) -> None:
    """Return once `happened()` is true; an AssertionError after `seconds`."""
    for _ in range(int(seconds / 0.01)):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen in time")

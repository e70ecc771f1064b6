"""How long a caller waits for the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PATIENCE_SECONDS = 15.0
"""Longer than a lock may be waited for, so that the database's own word comes first."""


@asynccontextmanager
async def within(seconds: float, late: Exception) -> AsyncIterator[None]:
    """Raise `late` when the block takes longer; a `TimeoutError` of its own is none of ours and passes."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise late from error

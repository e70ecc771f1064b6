"""Background tasks: started again when they fail, stopped with the service."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from thumbwheel_service.errors import TooMany, Unavailable

Job = Callable[[], Coroutine[Any, Any, None]]
"""Runs until it is cancelled."""
_log = logging.getLogger(__name__)
_OUTAGE_SECONDS = 5.0


@asynccontextmanager
async def running(jobs: Mapping[str, Job]) -> AsyncIterator[None]:
    """Run all of them during the block, then stop them in the reverse order; one that fails says so under its name."""
    async with AsyncExitStack() as stack:
        for name, job in jobs.items():
            task = asyncio.create_task(_again(name, job), name=name)
            stack.push_async_callback(_stop, task)
        yield


async def _again(name: str, job: Job) -> None:
    while True:
        try:
            await job()
        except (Unavailable, TooMany) as error:
            _log.warning("the background task %s waits: %s", name, error)
            await asyncio.sleep(_OUTAGE_SECONDS)
        except Exception:
            _log.exception("the background task %s failed; it starts again", name)
        await asyncio.sleep(1.0)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])

"""Those who wait for the log wake when it grows, and can be stopped at any moment."""

import asyncio

import pytest

from thumbwheel.bus import TopicPartition
from thumbwheel_service.log.signal import APPENDED, LogSignal

AT = TopicPartition("thumbwheel.turns", 0)
OTHER = TopicPartition("thumbwheel.turns", 1)


async def test_growth_of_a_watched_partition_wakes_and_is_seen_once() -> None:
    signal = LogSignal()
    with signal.watch([AT]) as watch:
        signal.committed({APPENDED: [AT]})
        assert await watch.wait(5.0)
        assert not await watch.wait(0.0)


async def test_growth_elsewhere_does_not_wake() -> None:
    signal = LogSignal()
    with signal.watch([AT]) as watch:
        signal.committed({APPENDED: [OTHER]})
        assert not await watch.wait(0.05)


async def test_a_waiter_that_is_cancelled_as_the_log_grows_stops() -> None:
    """`asyncio.wait_for` of Python 3.11 forgets such a cancellation, and a relay would have gone on for ever."""
    signal = LogSignal()
    with signal.watch([AT]) as watch:
        waiter = asyncio.create_task(watch.wait(5.0))
        await asyncio.sleep(0)
        signal.committed({APPENDED: [AT]})
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter

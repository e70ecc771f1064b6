"""Hears of erasures on the bus: those the learner has applied, and those a restored database does not know."""

from thumbwheel.events import ERASURES, ErasureApplied, PersonErased
from thumbwheel_service.erasure.service import ErasureService
from thumbwheel_service.log.follow import Follower
from thumbwheel_service.log.understand import understood
from thumbwheel_service.metrics import Metrics


async def follow_erasures(follower: Follower, erasures: ErasureService, metrics: Metrics) -> None:
    """Follow the topic until cancelled."""
    async for record in follower.follow(ERASURES.name):
        event = understood(record, metrics)
        if isinstance(event, PersonErased | ErasureApplied):
            await erasures.heard(event)

"""Hears on the bus what the learner would like to know, and what it would not any more."""

import asyncio
import logging

from thumbwheel.events import REVIEWS, ReviewAsked, ReviewWithdrawn
from thumbwheel_service.errors import TooMany, Unavailable
from thumbwheel_service.log.follow import Follower
from thumbwheel_service.log.understand import understood
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.reviews.service import ReviewService

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0


async def follow_reviews(follower: Follower, reviews: ReviewService, metrics: Metrics) -> None:
    """Follow the topic until cancelled; what is heard again changes nothing, and an outage is waited out."""
    async for record in follower.follow(REVIEWS.name):
        event = understood(record, metrics)
        while isinstance(event, ReviewAsked | ReviewWithdrawn):
            try:
                await reviews.heard(event)
                break
            except (Unavailable, TooMany) as error:
                _log.warning("a question waits: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

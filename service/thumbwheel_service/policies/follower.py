"""Follows what is said of policies on the bus and acts on it, for as long as the service lives."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from thumbwheel.bus import Record
from thumbwheel.events import Event, PolicyPublished, PolicyRouted
from thumbwheel_service.errors import TooMany, Unavailable
from thumbwheel_service.log.understand import skip, understood
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.policies.service import PolicyService

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_ATTEMPTS = 5
"""At a record that nobody foresaw; an outage is waited out for as long as it takes."""


class PolicyFollower:
    """Hands published versions and moved routes to `PolicyService`, in order; what cannot be used is skipped.

    `records` gives the whole topic from its beginning, again after every restart: versions seen before are left alone.
    """

    def __init__(
        self,
        policies: PolicyService,
        records: Callable[[], AsyncIterator[Record]],
        metrics: Metrics,
        *,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._policies = policies
        self._records = records
        self._metrics = metrics
        self._retry_seconds = retry_seconds

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                async for record in self._records():
                    event = understood(record, self._metrics)
                    if event is not None:
                        await self._handle(record, event)
                return
            except Exception:
                _log.exception("following policies broke off; it starts again from the beginning")
                await asyncio.sleep(self._retry_seconds)

    async def _handle(self, record: Record, event: Event) -> None:
        failures = 0
        while True:
            try:
                await self._act(event)
                return
            except (Unavailable, TooMany) as error:
                _log.warning("a policy waits: %s", error)
            except Exception as error:  # whatever it is, the versions after this one must not wait for ever
                failures += 1
                if failures == _ATTEMPTS:
                    skip(record, self._metrics, f"failed {failures} times: {error}", error)
                    return
            await asyncio.sleep(self._retry_seconds)

    async def _act(self, event: Event) -> None:
        if isinstance(event, PolicyPublished):
            await self._policies.published(event)
        elif isinstance(event, PolicyRouted):
            await self._policies.routed(event)

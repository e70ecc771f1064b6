"""Follows what is said of policies on the bus and acts on it, for as long as the service lives."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import msgspec

from thumbwheel import events
from thumbwheel.bus import Record
from thumbwheel.events import PolicyPublished, PolicyRouted
from thumbwheel_service.errors import TooMany, Unavailable
from thumbwheel_service.policies.service import PolicyService

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0


class PolicyFollower:
    """Hands published versions and moved routes to `PolicyService`, in order; what is not understood is skipped.

    `records` gives the whole topic from its beginning, again after every restart: versions seen before are left alone.
    """

    def __init__(self, policies: PolicyService, records: Callable[[], AsyncIterator[Record]]) -> None:
        self._policies = policies
        self._records = records

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                async for record in self._records():
                    await self._handle(record)
                return
            except Exception:
                _log.exception("following policies broke off; it starts again from the beginning")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _handle(self, record: Record) -> None:
        try:
            event = events.decode(record.value).event
        except msgspec.MsgspecError as error:
            _log.error("record %d of %s is not understood and skipped: %s", record.offset, record.topic, error)
            return
        while True:
            try:
                if isinstance(event, PolicyPublished):
                    await self._policies.published(event)
                elif isinstance(event, PolicyRouted):
                    await self._policies.routed(event)
                return
            except (Unavailable, TooMany) as error:
                _log.warning("a policy waits: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

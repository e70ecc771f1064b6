"""What the learner last said of itself, heard on the bus."""

import logging

import msgspec

from thumbwheel.events import LEARNER, LearnerReported, decode, now_ms
from thumbwheel.types import LearnerStatus
from thumbwheel_service.log.follow import Follower

_log = logging.getLogger(__name__)


class LearnerView:
    """Follows the learner's topic and remembers its last report."""

    def __init__(self, follower: Follower, *, silent_seconds: float) -> None:
        self._follower = follower
        self._silent_ms = silent_seconds * 1000
        self._last: LearnerStatus | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        async for record in self._follower.follow(LEARNER.name):
            try:
                event = decode(record.value).event
            except msgspec.MsgspecError as error:
                _log.warning("a record on %s does not parse: %s", LEARNER.name, error)
                continue
            if isinstance(event, LearnerReported):
                self._last = event.status

    def last(self) -> LearnerStatus | None:
        """The last report, as `stopped` when the learner has been silent for too long; None before the first."""
        if self._last is None or now_ms() - self._last.updated_ms < self._silent_ms:
            return self._last
        return msgspec.structs.replace(self._last, state="stopped")

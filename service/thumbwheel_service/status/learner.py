"""What the learner last said of itself, heard on the bus."""

from typing import Literal

import msgspec

from thumbwheel.bus import TopicPartition
from thumbwheel.events import LEARNER, LearnerReported, now_ms
from thumbwheel.types import LearnerStatus
from thumbwheel_service.log.follow import Follower
from thumbwheel_service.log.understand import understood
from thumbwheel_service.metrics import Metrics


class LearnerView:
    """Follows the learner's topic and remembers its last report."""

    def __init__(self, follower: Follower, metrics: Metrics, *, silent_seconds: float) -> None:
        self._follower = follower
        self._metrics = metrics
        self._silent_ms = silent_seconds * 1000
        self._last: LearnerStatus | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        async for record in self._follower.follow(LEARNER.name):
            event = understood(record, self._metrics)
            if isinstance(event, LearnerReported):
                self._last = event.status

    def stored(self, bus: Literal["embedded", "kafka"]) -> dict[TopicPartition, int] | None:
        """How far it has stored `bus`; None when it has never said, or reads another one."""
        said = self._last.stored if self._last is not None else msgspec.UNSET
        if isinstance(said, msgspec.UnsetType) or said.bus != bus:
            return None
        parts = ((name.rpartition("/"), offset) for name, offset in said.next.items())
        return {
            TopicPartition(topic, int(number)): offset for (topic, _, number), offset in parts if number.isdecimal()
        }

    def last(self) -> LearnerStatus | None:
        """The last report, as `stopped` when the learner has been silent for too long; None before the first."""
        if self._last is None or now_ms() - self._last.updated_ms < self._silent_ms:
            return self._last
        return msgspec.structs.replace(self._last, state="stopped")

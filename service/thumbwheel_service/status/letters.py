"""How many dead letters wait for an operator, heard on the bus."""

from collections import Counter

from thumbwheel.events import DEAD_LETTERS, DeadLettered, DeadLetterSettled, letter_id
from thumbwheel_service.log.follow import Follower
from thumbwheel_service.log.understand import understood
from thumbwheel_service.metrics import Metrics


class DeadLetterView:
    """Follows the topic of dead letters and counts those that nobody has settled, by the topic they came from."""

    def __init__(self, follower: Follower, metrics: Metrics) -> None:
        self._follower = follower
        self._metrics = metrics
        self._from: dict[str, str] = {}
        self._settled: set[str] = set()
        self._open: Counter[str] = Counter()

    async def run(self) -> None:
        """Follow until cancelled; what is heard again changes nothing."""
        async for record in self._follower.follow(DEAD_LETTERS.name):
            match understood(record, self._metrics):
                case DeadLettered() as letter if (name := letter_id(letter)) not in self._from:
                    self._from[name] = letter.topic
                    self._count(letter.topic, 0 if name in self._settled else 1)
                case DeadLetterSettled() as settled if (name := letter_id(settled)) not in self._settled:
                    self._settled.add(name)
                    if name in self._from:
                        self._count(self._from[name], -1)
                case _:
                    pass

    def open(self) -> int:
        """How many are open."""
        return self._open.total()

    def _count(self, topic: str, change: int) -> None:
        self._open[topic] += change
        self._metrics.dead_letters.labels(topic).set(self._open[topic])

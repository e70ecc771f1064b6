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
        self._shown: set[str] = set()

    async def run(self) -> None:
        """Follow until cancelled."""
        async for record in self._follower.follow(DEAD_LETTERS.name):
            match understood(record, self._metrics):
                case DeadLettered() as letter:
                    self._from[letter_id(letter)] = letter.topic
                case DeadLetterSettled() as settled:
                    self._settled.add(letter_id(settled))
                case _:
                    continue
            self._show()

    def open(self) -> int:
        """How many are open."""
        return sum(self._counts().values())

    def _counts(self) -> Counter[str]:
        return Counter(topic for name, topic in self._from.items() if name not in self._settled)

    def _show(self) -> None:
        counts = self._counts()
        self._shown |= counts.keys()
        for topic in self._shown:
            self._metrics.dead_letters.labels(topic).set(counts[topic])

"""Which kills a run makes: drawn from its seed, half of them at failpoints, each part with a queue of its own."""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

FAILPOINTS: Mapping[str, Mapping[str, int]] = {
    "service": {"writer.committed": 40, "relay.appended": 20},
    "learner": {"consume.storing": 12, "consume.stored": 12},
    "publisher": {"publish.files": 3, "publish.written": 3, "publish.announced": 3},
}
"""Of each part, with the most passes before it strikes."""
UPTIME_S = (0.3, 4.0)
"""Between the moment a part works and a kill at random."""


class Kill(NamedTuple):
    """One death to come."""

    number: int
    part: str
    failpoint: str | None
    """`<name>:<passes>`, or None for a moment drawn at random."""
    after_s: float
    """With a failpoint: how long to wait for it."""


def _points(has_relay: bool) -> list[tuple[str, str, int]]:
    """One of each part in turn, so that few kills, too, hit them all."""
    queues = [[(part, name, passes) for name, passes in names.items()] for part, names in FAILPOINTS.items()]
    turns = [point for turn in itertools.zip_longest(*queues) for point in turn if point is not None]
    return [point for point in turns if has_relay or point[1] != "relay.appended"]


def plan(seed: int, kills: int, parts: Sequence[str], *, has_relay: bool) -> list[Kill]:
    """The kills in order of their numbers; the same seed gives the same."""
    draw = random.Random(seed)
    points = _points(has_relay)
    found: list[Kill] = []
    for number in range(kills):
        if number % 2 == 0:
            part, name, passes = points[(number // 2) % len(points)]
            found.append(Kill(number, part, f"{name}:{draw.randint(1, passes)}", 60.0))
        else:
            found.append(Kill(number, parts[(number // 2) % len(parts)], None, draw.uniform(*UPTIME_S)))
    return found

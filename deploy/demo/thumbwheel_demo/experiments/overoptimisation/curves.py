"""Gold against the distance from the start, √KL, where every seed's run is its own path through it."""

# pyright: reportUnknownMemberType=false
# (numpy's stubs leave the element type of reductions open)

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thumbwheel_demo.experiments.overoptimisation.runs import Cell, Point

Array = NDArray[np.float64]
STEP = 0.25
"""Of the grid of √KL, √nats per answer."""


class Path(NamedTuple):
    """One run's figures at growing distance."""

    distance: Array
    """[M] √KL."""
    gold: Array
    """[M, P] by prompt."""
    proxy: Array
    """[M]"""

    @property
    def reach(self) -> float:
        """The farthest that was measured."""
        return float(self.distance[-1])

    def gold_at(self, distance: float) -> Array:
        """[P] by prompt, interpolated between the two measurements around it; raises `ValueError` beyond the last."""
        if distance > self.reach:
            raise ValueError(f"the run went as far as {self.reach:.2f}, not {distance:.2f}")
        after = max(1, int(np.searchsorted(self.distance, distance)))
        near, far = self.distance[after - 1], self.distance[after]
        share = 0.0 if far == near else (distance - near) / (far - near)
        return (1 - share) * self.gold[after - 1] + share * self.gold[after]

    def proxy_at(self, distance: float) -> float:
        """Interpolated likewise."""
        return float(np.interp(distance, self.distance, self.proxy))


def path_of(cell: Cell) -> Path:
    """A cell's points in the order of their distance, which is nearly that of time."""
    points: Sequence[Point] = sorted(cell.points, key=lambda p: p.kl)
    names = sorted(points[0].gold)
    return Path(
        np.sqrt([max(0.0, p.kl) for p in points]),
        np.array([[p.gold[name] for name in names] for p in points]),
        np.array([p.proxy for p in points]),
    )


class Curve(NamedTuple):
    """The seeds of one arm at the distances that all of them reach."""

    distance: Array
    """[G]"""
    gold: Array
    """[S, G, P]"""
    proxy: Array
    """[S, G]"""

    def peak(self) -> int:
        """Where the mean over seeds is highest."""
        return int(self.gold.mean(axis=(0, 2)).argmax())

    def error(self, at: int) -> float:
        """Standard error of the mean gold over seeds; 0 for one seed."""
        by_seed = self.gold[:, at].mean(axis=1)
        return float(by_seed.std(ddof=1) / len(by_seed) ** 0.5) if len(by_seed) > 1 else 0.0


def curve_of(paths: Sequence[Path]) -> Curve:
    """Every seed's path on one grid."""
    grid = [STEP * n for n in range(1 + int(min(p.reach for p in paths) / STEP))]
    gold = np.array([[p.gold_at(x) for x in grid] for p in paths])
    return Curve(np.array(grid), gold, np.array([[p.proxy_at(x) for x in grid] for p in paths]))

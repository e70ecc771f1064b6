"""Gold and proxy against √KL, a line per arm and a band over its seeds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from thumbwheel_demo.experiments.overoptimisation.curves import Array, curve_of, path_of
from thumbwheel_demo.experiments.overoptimisation.report import BEYOND, Summary
from thumbwheel_demo.experiments.overoptimisation.runs import ARMS, Cell
from thumbwheel_demo.report.figures import MUTED, WHEEL, Axes, plot

LOOKS = {name: (WHEEL[1 + n % 2], "--" if ARMS[name].kl else "-") for n, name in enumerate(ARMS)}


def write_plot(cells: Sequence[Cell], found: Summary, file: Path) -> None:
    """Bands are one standard error over seeds; a line ends with the first of its seeds, a dot is what a run wrote."""
    with plot("overoptimisation", 10.0, 4.0, panels=2) as drawing:
        gold, proxy = drawing.panels
        for name in ARMS:
            mine = [c for c in cells if c.arm == name and c.seed in found.seeds]
            curve = curve_of([path_of(c) for c in mine])
            _band(gold, curve.distance, curve.gold.mean(axis=2), name)
            _band(proxy, curve.distance, curve.proxy, name)
            ends = [c.kept for c in mine]
            for axes, height in ((gold, [p.satisfied for p in ends]), (proxy, [p.proxy for p in ends])):
                filled = "none" if ARMS[name].kl else LOOKS[name][0]
                axes.scatter([p.kl**0.5 for p in ends], height, s=14, facecolor=filled, edgecolor=LOOKS[name][0])
        for distance, height in ((found.peak, found.peak_gold), (BEYOND * found.peak, None)):
            gold.axvline(distance, color=MUTED, linewidth=0.8, linestyle=":")
            if height is not None:
                gold.axhline(height - found.peak_error, color=MUTED, linewidth=0.8, linestyle=":")
        for axes, title in ((gold, "Gold: share of satisfied customers"), (proxy, "Proxy: standard deviations")):
            axes.set_title(title)
            axes.set_xlabel("√KL to the start, √nats per answer")
        gold.legend(fontsize=9)
        file.write_text(drawing.svg(), encoding="utf-8")


def _band(axes: Axes, distance: Array, by_seed: Array, name: str) -> None:
    """`by_seed` [S, G]."""
    colour, line = LOOKS[name]
    mean = by_seed.mean(axis=0)
    error = by_seed.std(axis=0, ddof=1) / len(by_seed) ** 0.5 if len(by_seed) > 1 else np.zeros_like(mean)
    axes.plot(distance, mean, line, color=colour, label=name)
    axes.fill_between(distance, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)

"""The report's plots as inline SVG: no script, no network, readable by people who cannot tell red from green."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from thumbwheel_demo.report.record import Swap, Tick, VersionFigures

mpl: Any = matplotlib
Axes = Any
"""matplotlib's stubs are only half typed."""

INK = "#1f2933"
MUTED = "#7b8794"
GRID = "#e4e7eb"
WHEEL = ("#9aa5b1", "#3e7cb1", "#f0803c", "#2d936c", "#8e5ea2", "#c0392b")
"""One colour per version, the base in grey."""

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def colour(index: int) -> str:
    """The colour of version number `index`."""
    return WHEEL[0] if index == 0 else WHEEL[1 + (index - 1) % (len(WHEEL) - 1)]


class Plot:
    """One figure on its way to SVG text."""

    def __init__(self, name: str, width: float, height: float, panels: int = 1) -> None:
        self._name = name
        self._figure: Any = Figure(figsize=(width, height), layout="constrained")
        grid = self._figure.subplots(1, panels, squeeze=False)
        self.panels: list[Axes] = list(grid[0])

    def svg(self) -> str:
        """SVG text without XML prolog; ids are salted by name, so that several fit on one page."""
        out = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": self._name}):
            self._figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
        text = out.getvalue()
        return text[text.index("<svg") :].replace('id="figure_1"', f'id="{self._name}"')


@contextmanager
def plot(name: str, width: float, height: float, panels: int = 1) -> Iterator[Plot]:
    """Draw with the report's style, whatever the user's matplotlib is set to."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        yield Plot(name, width, height, panels)


def satisfaction(versions: list[VersionFigures]) -> str:
    """Hidden satisfaction by version with its 95% interval, and beside it the KL to the base."""
    names = [v.version for v in versions]
    with plot("satisfaction", 9.2, 3.4, panels=2) as drawing:
        left, right = drawing.panels
        for i, v in enumerate(versions):
            s = v.satisfaction
            left.errorbar(
                i, s.mean, yerr=[[s.mean - s.low], [s.high - s.mean]], fmt="o", color=colour(i), capsize=5, ms=8, lw=2
            )
            left.annotate(f"{s.mean:.0%}", (i, s.mean), xytext=(10, -4), textcoords="offset points", weight="bold")
        left.plot([v.satisfaction.mean for v in versions], color=GRID, zorder=0, lw=2)
        left.set(title="Satisfied customers, held-out prompts", ylim=(0, 1), xlim=(-0.4, len(versions) - 0.4))
        left.yaxis.set_major_formatter(PercentFormatter(1.0))
        _grid(left)
        known = [(i, v.kl) for i, v in enumerate(versions) if v.kl is not None]
        bars = right.bar([i for i, _ in known], [kl for _, kl in known], color=[colour(i) for i, _ in known], width=0.5)
        right.bar_label(bars, fmt="%.2f", padding=2)
        right.set(title="KL to the base, nats per answer", xlim=(-0.5, len(versions) - 0.5))
        right.margins(y=0.15)
        _grid(right)
        for axes in (left, right):
            axes.set_xticks(range(len(names)), [_short(n) for n in names])
        return drawing.svg()


def parts(versions: list[VersionFigures]) -> str:
    """What the gain is made of: the share of answers that pass each part of the hidden judgement."""
    labels = list(versions[0].parts)
    width = 0.8 / max(1, len(versions))
    with plot("parts", 9.2, 3.0) as drawing:
        axes = drawing.panels[0]
        for i, v in enumerate(versions):
            offsets = [j + (i - (len(versions) - 1) / 2) * width for j in range(len(labels))]
            shares = [v.parts.get(label, 0.0) for label in labels]
            axes.bar(offsets, shares, width=width * 0.92, color=colour(i), label=_short(v.version))
        axes.set_xticks(range(len(labels)), labels)
        axes.set(title="What the answers are, by part of the hidden judgement", ylim=(0, 1.05))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        _grid(axes)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=max(1, len(versions)))
        return drawing.svg()


def calibration(bins: list[dict[str, Any]]) -> str:
    """Reliability of the reward model: predicted against observed share; `bins` hold predicted, observed, count."""
    with plot("calibration", 4.6, 3.4) as drawing:
        axes = drawing.panels[0]
        axes.plot((0, 1), (0, 1), ls="--", color=MUTED, lw=1)
        most = max((b["count"] for b in bins), default=1)
        full = [b for b in bins if b["count"]]
        sizes = [30 + 220 * b["count"] / most for b in full]
        axes.plot([b["predicted"] for b in full], [b["observed"] for b in full], color=WHEEL[1], lw=1.5)
        axes.scatter([b["predicted"] for b in full], [b["observed"] for b in full], s=sizes, color=WHEEL[1], alpha=0.75)
        axes.set(title="Reward model calibration", xlabel="predicted", ylabel="observed", xlim=(0, 1), ylim=(0, 1))
        axes.set_aspect("equal")
        _grid(axes)
        return drawing.svg()


def timeline(ticks: list[Tick], swaps: list[Swap], versions: list[str]) -> str:
    """Chats answered over time, coloured by the policy that answered, with the swaps as lines."""
    with plot("timeline", 9.2, 2.7) as drawing:
        axes = drawing.panels[0]
        times = [t.at_s for t in ticks]
        width = (times[1] - times[0]) if len(times) > 1 else 1.0
        floor = [0.0] * len(ticks)
        for i, version in enumerate(versions):
            heights = [t.chats.get(version, 0) / width for t in ticks]
            if any(heights):
                axes.bar(times, heights, width, bottom=floor, color=colour(i), label=_short(version), align="edge")
                floor = [f + h for f, h in zip(floor, heights, strict=True)]
        for swap in swaps:
            axes.axvline(swap.at_s, color=INK, lw=1, ls=":")
            axes.annotate(
                f"swap to {_short(swap.version)}: {swap.seconds * 1000:.0f} ms",
                (swap.at_s, 0.98),
                xycoords=("data", "axes fraction"),
                xytext=(4, 0),
                textcoords="offset points",
                va="top",
                size=9,
            )
        axes.set(title="Chats answered per second, by policy version", xlabel="seconds after set-up")
        axes.set_ylim(0, 1.25 * max(floor, default=1.0))
        axes.margins(x=0.01)
        _grid(axes)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=max(1, len(versions)))
        return drawing.svg()


def forest(rows: list[tuple[str, float, float, float]], title: str) -> str:
    """Intervals under each other: label, mean, low, high, all as shares, with the line of no effect."""
    with plot("forest", 9.2, 0.9 + 0.42 * len(rows)) as drawing:
        axes = drawing.panels[0]
        axes.axvline(0, color=MUTED, lw=1)
        for i, (_, mean, low, high) in enumerate(rows):
            shade = WHEEL[1] if low > 0 or high < 0 else WHEEL[0]
            axes.errorbar(mean, i, xerr=[[mean - low], [high - mean]], fmt="o", color=shade, capsize=4, ms=6, lw=2)
            axes.annotate(f"{mean:+.1%}", (high, i), xytext=(8, -4), textcoords="offset points", size=10)
        axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.margins(x=0.12, y=0.12)
        axes.set_title(title)
        _grid(axes, "x")
        return drawing.svg()


def _short(version: str) -> str:
    return version if len(version) <= 16 else version[:7] + "…" + version[-6:]


def _grid(axes: Axes, axis: str = "y") -> None:
    axes.grid(axis=axis, color=GRID, lw=1)
    axes.tick_params(length=0)

"""A small, whole report to print, draw and compare."""

from typing import Any

from thumbwheel_demo.report.record import (
    Answered,
    ChatCounts,
    Example,
    Gate,
    Interval,
    Phase,
    Report,
    Swap,
    Tick,
    VersionFigures,
)

CALIBRATION = [
    {"predicted": 0.2, "observed": 0.25, "count": 30},
    {"predicted": 0.5, "observed": 0.0, "count": 0},
    {"predicted": 0.8, "observed": 0.7, "count": 60},
]


def version(name: str, mean: float, base: float = 0.4) -> VersionFigures:
    gain = mean - base
    return VersionFigures(
        version=name,
        satisfaction=Interval(mean, mean - 0.05, mean + 0.05),
        gain=Interval(gain, gain - 0.06, gain + 0.06) if gain else Interval(0.0, 0.0, 0.0),
        kl=gain * 10,
        parts={"solved": mean, "kind": 0.8, "brief": 0.9},
        words=20.5,
        prompts=4,
        answers=8,
    )


def report(**changes: Any) -> Report:
    values: dict[str, Any] = {
        "settings": {"seed": 1, "noise": 0.1},
        "versions": [version("base", 0.4), version("pol-0001", 0.6), version("pol-0002", 0.75)],
        "swaps": [
            Swap(version="pol-0001", previous="base", seconds=0.12, at_s=100.0, chats_in_flight=3),
            Swap(version="pol-0002", previous="pol-0001", seconds=0.08, at_s=200.0, chats_in_flight=2),
        ],
        "gates": [Gate(turn=1, version="pol-0001", accepted=True, reason="wins 70%")],
        "chats": ChatCounts(total=500, lost=0, truncated=0, streamed=300),
        "feedback": {"thumb up": 30, "thumb down": 60, "correction": 12},
        "reward_model": {"accuracy": 0.8, "auc": 0.85, "ece": 0.04, "calibration": CALIBRATION},
        "reward_models": [],
        "phases": [Phase("chat", 30.0), Phase("learn", 90.0)],
        "seconds_after_setup": 420.0,
        "examples": [
            Example(
                messages=[{"role": "user", "content": "<b>Where</b> is it?"}],
                before=Answered(version="base", text="No idea.", satisfied=False),
                after=Answered(version="pol-0002", text="On its way & soon there.", satisfied=True),
            )
        ],
        "timeline": [Tick(0.0, {"base": 10}), Tick(5.0, {"base": 4, "pol-0001": 6})],
        "prompts": {"base": {"a": 0.0, "b": 1.0}, "pol-0002": {"a": 1.0, "b": 1.0}},
    }
    return Report(**{**values, **changes})

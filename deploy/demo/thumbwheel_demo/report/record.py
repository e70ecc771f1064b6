"""The figures of one run of the demo, as `report.json` holds them."""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct


class Interval(Struct, frozen=True):
    """A mean with its 95% interval; shares run from 0 to 1."""

    mean: float
    low: float
    high: float


class VersionFigures(Struct, frozen=True, kw_only=True):
    """One policy version, measured on the held-out prompts."""

    version: str
    satisfaction: Interval
    gain: Interval
    """Paired difference to the base over the same prompts."""
    kl: float | None
    """KL to the base policy in nats per answer, by the learner's own reckoning; 0 for the base, None when not told."""
    parts: dict[str, float]
    """Share of the answers that pass each part of the hidden judgement."""
    words: float
    """Mean length of an answer."""
    prompts: int
    answers: int
    distinct_answers: Interval | None = None
    """Share of different answers among those to one prompt; None in reports from before it was measured."""
    distinct_bigrams: Interval | None = None
    """Share of different word pairs in the answers to one prompt."""
    parent: str | None = None
    verdict: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    metrics: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class Swap(Struct, frozen=True, kw_only=True):
    """One move of the live route."""

    version: str
    previous: str
    seconds: float
    """From the published event to the moved route, by the service's clock."""
    at_s: float
    """When it was seen, in seconds after set-up."""
    chats_in_flight: int
    """Chats that were being answered when the move was seen."""


class ChatCounts(Struct, frozen=True, kw_only=True):
    """Every chat of the run, the measured ones included."""

    total: int
    lost: int
    """No answer: refused, reset, an error status."""
    truncated: int
    """An answer without its end: no finish reason or no closing `[DONE]`."""
    streamed: int = 0
    to_length: int = 0
    """Whole answers that ran into their token limit; a matter of the policy, not of the service."""
    by_version: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    errors: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    first_errors: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """What the first error of every kind said, and when."""


class Gate(Struct, frozen=True, kw_only=True):
    """What became of one turn of the wheel."""

    turn: int
    version: str | None
    accepted: bool
    reason: str
    figures: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class Phase(Struct, frozen=True):
    """A part of the run and how long it took."""

    name: str
    seconds: float


class Answered(Struct, frozen=True, kw_only=True):
    """An answer with the hidden verdict on it."""

    version: str
    text: str
    satisfied: bool


class Example(Struct, frozen=True, kw_only=True):
    """A held-out prompt as the base answered it and as the last version does."""

    messages: list[dict[str, Any]]
    before: Answered
    after: Answered


class Tick(Struct, frozen=True):
    """Chats that ended in one slice of the run, by policy version."""

    at_s: float
    chats: dict[str, int]


class Report(Struct, frozen=True, kw_only=True):
    """Everything a run found; `versions` has the base first."""

    settings: dict[str, Any]
    versions: list[VersionFigures]
    swaps: list[Swap]
    gates: list[Gate]
    chats: ChatCounts
    feedback: dict[str, int]
    """Votes, corrections and whatever else people sent and the service acknowledged, by kind and value."""
    reward_model: dict[str, Any]
    """At least accuracy, auc and ece on the learner's own time-split hold-out; None where it had none."""
    reward_models: list[dict[str, Any]]
    """The same after every turn."""
    phases: list[Phase]
    seconds_after_setup: float
    examples: list[Example]
    timeline: list[Tick] = msgspec.field(default_factory=list[Tick])
    prompts: dict[str, dict[str, float]] = msgspec.field(default_factory=dict[str, dict[str, float]])
    """Satisfaction by version and prompt, so that runs can be compared prompt by prompt."""
    distinct_answers: dict[str, dict[str, float]] = msgspec.field(default_factory=dict[str, dict[str, float]])
    """By version and prompt, as in `VersionFigures`; empty in reports from before it was measured. So is the next."""
    distinct_bigrams: dict[str, dict[str, float]] = msgspec.field(default_factory=dict[str, dict[str, float]])
    distinct_good_answers: dict[str, dict[str, float]] = msgspec.field(default_factory=dict[str, dict[str, float]])
    distinct_good_bigrams: dict[str, dict[str, float]] = msgspec.field(default_factory=dict[str, dict[str, float]])
    """These two of the answers that satisfy, for prompts with at least two of them."""
    machine: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    schema_version: int = 1


def write_json(path: Path, value: Any) -> None:
    """Write figures whole or not at all, readable by people too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = msgspec.json.format(msgspec.json.encode(value), indent=2)
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_bytes(body + b"\n")
    partial.replace(path)


def read_report(path: Path) -> Report:
    """Read `report.json` back; raises `FileNotFoundError`, `msgspec.ValidationError`."""
    return msgspec.json.decode(path.read_bytes(), type=Report)

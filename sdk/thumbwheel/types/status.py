"""Words to the learner, and one look at both halves."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class LearnerCommandIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A word to the learner; `stages` only narrows `now` (empty: all that are configured)."""

    command: Literal["now", "pause", "resume"]
    stages: list[Literal["sft", "reward", "ppo"]] = []


class StoredOffsets(Struct, frozen=True):
    """How far the learner has stored the bus that it reads."""

    bus: Literal["embedded", "kafka"]
    next: dict[str, int]
    """The next offset to store, by `topic/partition`."""


class LearnerStatus(Struct, frozen=True, kw_only=True):
    """What the learner last said of itself."""

    state: Literal["idle", "training", "paused", "stopped"]
    stage: str | None
    progress: float | None
    """Share of the current stage done, 0 to 1."""
    run_id: str | None
    detail: str
    labels_total: int
    labels_new: int
    """Since the last finished run."""
    updated_ms: int
    reward_model: dict[str, Any] = {}
    last_run: dict[str, Any] = {}
    stored: StoredOffsets | UnsetType = UNSET


class LogStatus(Struct, frozen=True, kw_only=True):
    """The log table: what is kept of turns, feedback and control, and who still needs it."""

    records: int
    oldest_ms: int | None
    """When the oldest of them was written."""
    behind: int | None
    """Records that the learner has not stored yet; None: it has never said."""
    keep_days: float
    """Records are kept for so long once the learner has stored them; 0: for ever."""


class ServiceStatus(Struct, frozen=True, kw_only=True):
    """`GET /v1/status`: one look at both halves."""

    version: str
    model: str
    alias: str
    live_policy: str
    epoch: int
    uptime_s: float
    chats_in_flight: int
    turns: int
    feedback: int
    bus: Literal["embedded", "kafka"]
    learner: LearnerStatus | None = None
    dead_letters: int = 0
    """Records that could not be used and that nobody has settled; `thumbwheel dead-letters` lists them."""
    log: LogStatus | None = None
    """Looked at now and then; None right after the start."""

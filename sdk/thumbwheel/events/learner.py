"""Words to the learner, and what it says of itself."""

from typing import Literal

from msgspec import Struct

from thumbwheel.types import LearnerStatus


class LearnerCommand(Struct, frozen=True, kw_only=True, tag="learner_command", tag_field="type"):
    """An operator's word to the learner (topic control, key `learner`)."""

    command: Literal["now", "pause", "resume"]
    created_ms: int
    stages: list[Literal["sft", "reward", "ppo"]] = []
    """Only these stages for this run; empty: all that are configured."""
    schema_version: int = 1


class LearnerReported(Struct, frozen=True, kw_only=True, tag="learner_reported", tag_field="type"):
    """The learner's latest word on itself (topic learner, key `status`)."""

    status: LearnerStatus
    schema_version: int = 1

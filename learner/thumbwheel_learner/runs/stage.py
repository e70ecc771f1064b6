"""What a stage of a training run gets and gives, and the marker on disk that says it is done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.files import write_atomically
from thumbwheel_learner.progress import Progress

STAGES = ("snapshot", "refine", "reward", "questions", "sft", "ppo", "gate", "publish")
"""Every run goes through them in this order; refine, reward, questions, sft and ppo may be left out."""
DONE = "done.json"


class Parent(NamedTuple):
    """The policy a run starts from: the live one."""

    version: str
    adapter: Path | None
    """None: the bare base model."""


class StageInput(NamedTuple):
    """Everything a stage may read, and the one folder it may write."""

    run_id: str
    folder: Path
    """The stage's own. What a killed attempt left is still there: a stage resumes from it or writes over it."""
    snapshot: Snapshot
    snapshot_facts: Mapping[str, Any]
    """Hash, counts and files of the snapshot, for manifests."""
    parent: Parent
    results: Mapping[str, Mapping[str, Any]]
    """What the stages before said, by stage; a stage that was left out is absent."""
    stages: tuple[str, ...]
    """Which of reward, sft, ppo this run goes through."""
    progress: Progress

    @property
    def run_folder(self) -> Path:
        """Folder of the run; results name files relative to it."""
        return self.folder.parent

    def trained_adapter(self) -> Path | None:
        """What this run has trained so far: PPO's adapter, else SFT's; None when nothing was."""
        for stage in ("ppo", "sft"):
            adapter = self.results.get(stage, {}).get("adapter")
            if adapter is not None:
                return self.run_folder / adapter
        return None


class StageOutcome(Struct, frozen=True, kw_only=True):
    """What a stage says when it is done; stored as its marker."""

    result: dict[str, Any]
    """Plain JSON; `adapter` (relative to the run's folder) where the stage trained one, `skipped` where it did not."""
    state: str | None = None
    """Set when the run ends here: published | rejected | halted | skipped."""
    reason: str = ""


class Stage(Protocol):
    """One resumable step of a run; whatever `progress` raises ends it between two steps, checkpoints kept."""

    def __call__(self, given: StageInput) -> StageOutcome:
        """Do it; raises what makes the run fail, or `RunInterrupted` for what a later attempt may overcome."""
        ...


def mark_done(folder: Path, outcome: StageOutcome) -> None:
    """Say durably that the stage is done; nothing of it is ever done again."""
    write_atomically(folder / DONE, msgspec.json.encode(outcome))


def outcome_of(folder: Path) -> StageOutcome | None:
    """What the stage said when it was done, None when it was not."""
    try:
        return msgspec.json.decode((folder / DONE).read_bytes(), type=StageOutcome)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None

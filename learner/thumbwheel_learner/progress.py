"""How a long job tells where it is, and how it is told to stop."""

from typing import Protocol


class Progress(Protocol):
    """Called often from training loops; whatever it raises ends the job between two steps, checkpoints kept."""

    def __call__(self, stage: str, share: float, detail: str) -> None:
        """`share` of the stage is done, from 0 to 1; `detail` is for a person."""
        ...


def silent(stage: str, share: float, detail: str) -> None:
    """A `Progress` for callers that do not look."""

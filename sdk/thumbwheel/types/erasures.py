"""What went when a person asked to be forgotten."""

from typing import Literal

from msgspec import Struct


class AffectedVersion(Struct, frozen=True, kw_only=True):
    """A policy version that was trained on what has been erased since, or descends from one that was."""

    version: str
    examples: int
    """Of its own data, those that came from the erased."""
    share: float
    """The same as a share of its own data, 0 to 1."""
    inherited: bool = False
    """An ancestor was trained on it as well."""


class Erasure(Struct, frozen=True, kw_only=True):
    """The receipt of an erasure: what went, and by when nobody can read any copy."""

    erasure_id: str
    subject_sha256: str
    """Of tenant, NUL, `user/<id>` or `conversation/<id>`: proves whose it was, and keeps no name."""
    state: Literal["erasing", "erased", "complete"]
    """erasing: the rows are gone; erased: so are the keys of every copy; complete: the learner has dropped its own."""
    turns: int
    feedback: int
    created_ms: int
    deadline_ms: int
    """By then it is complete, or the status says why it is late."""
    applied_ms: int | None = None
    """When the learner was done."""
    versions: list[AffectedVersion] = []
    """Known once it is complete."""


class ErasureList(Struct, frozen=True, kw_only=True):
    """Erasures, newest first."""

    erasures: list[Erasure]

"""Many rows through a model, whatever is asked of each."""

from collections.abc import Callable, Sequence, Sized
from typing import TypeVar

from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import READ_TOKENS, by_length

R = TypeVar("R", bound=Sized)
T = TypeVar("T")


def read_rows(model: PolicyModel, rows: Sequence[R], read: Callable[[list[R]], Sequence[T]]) -> list[T]:
    """What `read` makes of every row, in their order: in batches of like length, side by side."""
    groups = list(by_length([len(row) for row in rows], READ_TOKENS))
    found = model.side_by_side.map(lambda group: read([rows[i] for i in group]), groups)
    at = {i: one for group, each in zip(groups, found, strict=True) for i, one in zip(group, each, strict=True)}
    return [at[i] for i in range(len(rows))]

"""What the frozen lower blocks make of rows, kept from one epoch to the next: adapters above never change it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.reading import read_rows
from thumbwheel_learner.model.tokens import Batch
from thumbwheel_learner.reward.labels import Row, batch_of


class Trunk:
    """States below a block by row object; unchanged once made, so that any number of threads may read it."""

    def __init__(self, model: PolicyModel, first_block: int, rows: Sequence[Row], limit: int) -> None:
        """Keep as many rows as fit into `limit` bytes, the first ones first; none if the model cannot resume there."""
        self._kept: dict[int, tuple[Row, Tensor]] = {}
        if not model.resumes_at(first_block):
            return
        token = model.hidden_size * model.base.dtype.itemsize
        fitting = [row for row in rows if (limit := limit - len(row) * token) >= 0]

        def read(some: list[Row]) -> list[Tensor]:
            states = model.states_below(batch_of(some, model.tokens.pad_id), first_block)
            return [its[: len(row)].clone() for row, its in zip(some, states, strict=True)]

        found = read_rows(model, fitting, read)
        self._kept = {id(row): (row, its) for row, its in zip(fitting, found, strict=True)}

    def holds(self, rows: Sequence[Row]) -> bool:
        """Whether all of these very rows are kept."""
        return all(id(row) in self._kept for row in rows)

    def below(self, rows: Sequence[Row], batch: Batch) -> Tensor:
        """[B, T, D] of kept rows, padded on the right as in `batch`."""
        kept = [self._kept[id(row)][1] for row in rows]
        out = torch.zeros(*batch.ids.shape, kept[0].shape[-1], dtype=kept[0].dtype, device=kept[0].device)
        for n, states in enumerate(kept):
            out[n, : len(states)] = states
        return out

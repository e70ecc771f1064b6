"""What heads read when nothing below them learns: the bare base, or an encoder of its own.

The cheap reward model: its members are heads alone, so that a label is read once, whatever the number of members and
epochs. What it gives up: docs/algorithms/reward_model.md.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.reading import read_rows
from thumbwheel_learner.model.tokens import Batch
from thumbwheel_learner.reward.config import ADAPTERS, FROZEN, RewardConfig
from thumbwheel_learner.reward.encoder import Encoder
from thumbwheel_learner.reward.labels import Row, batch_of
from thumbwheel_learner.reward.likelihood import Scaling
from thumbwheel_learner.reward.pooling import pooled


class Reader(Protocol):
    """Reads answers and learns nothing."""

    width: int

    def read(self, rows: Sequence[Row], batch: Batch, below: Tensor | None) -> Tensor:
        """[N, width] of rows that are also a `batch`, from the base's states `below` its upper blocks if given."""
        ...


class BareBase:
    """The base without adapters: the states where adapters would begin, and the last ones."""

    def __init__(self, model: PolicyModel, first_block: int) -> None:
        self._model, self._first_block = model, first_block
        self.width = 4 * model.hidden_size
        """The state at the end token and the mean over the answer, of two layers."""

    def read(self, rows: Sequence[Row], batch: Batch, below: Tensor | None) -> Tensor:
        """See `Reader`."""
        there = self._model.states_below(batch, self._first_block) if below is None else below
        with self._model.using():
            last = self._model.hidden(batch, first_block=self._first_block, below=below)
        return torch.cat([pooled(states[None].float(), batch, "both")[0].cpu() for states in (there, last)], dim=1)


class FrozenTrunk:
    """A reader that remembers the rows of a training, by row object, and puts what it reads on one scale."""

    def __init__(self, model: PolicyModel, reader: Reader) -> None:
        self._model, self._reader = model, reader
        self.width = reader.width
        self.scaling = Scaling(torch.zeros(self.width), torch.ones(self.width))
        """Set by `keep`, or by whoever loads a reward model."""
        self._kept: dict[int, tuple[Row, Tensor]] = {}

    @torch.no_grad()
    def keep(self, rows: Sequence[Row]) -> None:
        """Read these once, batched by length, side by side; what is usual among them sets the scale."""

        def read(some: list[Row]) -> list[Tensor]:
            return list(self._reader.read(some, batch_of(some, self._model.tokens.pad_id), None))

        found = read_rows(self._model, rows, read)
        self._kept = {id(row): (row, states) for row, states in zip(rows, found, strict=True)}
        states = torch.stack([kept for _, kept in self._kept.values()])
        self.scaling = Scaling(states.mean(dim=0), states.std(dim=0, correction=0).clamp(min=1e-3))

    def forget(self) -> None:
        """Let the rows go."""
        self._kept = {}

    def holds(self, rows: Sequence[Row]) -> bool:
        """Whether all of these very rows are kept."""
        return all(id(row) in self._kept for row in rows)

    @torch.no_grad()
    def read(self, rows: Sequence[Row], batch: Batch, below: Tensor | None) -> Tensor:
        """[N, width] of mean 0 and deviation 1 on the answers that were labelled, bounded."""
        if self.holds(rows):
            return self.scaling.apply(torch.stack([self._kept[id(row)][1] for row in rows]))
        return self.scaling.apply(self._reader.read(rows, batch, below))


def frozen_trunk(model: PolicyModel, config: RewardConfig, first_block: int) -> FrozenTrunk | None:
    """What the configuration names; None where members are adapters. Raises `NoEncoder`."""
    if config.trunk == ADAPTERS:
        return None
    if config.trunk == FROZEN:
        return FrozenTrunk(model, BareBase(model, first_block))
    return FrozenTrunk(model, Encoder(config.trunk, model.tokens, model.device, config.max_length))

"""How likely the bare base finds an answer: features of its reward, to be weighed by what people say.

A language model's own likelihood of a text is a strong judge of it (Yuan et al. 2021, "BARTScore", arXiv:2106.11520):
an answer to another question, an invented detail or a broken sentence surprise it. A few hundred labels hardly teach
that anew, and easily teach how much it counts.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.reading import read_rows
from thumbwheel_learner.model.tokens import Batch
from thumbwheel_learner.model.trunk import Trunk
from thumbwheel_learner.reward.labels import Row, batch_of

FEATURES = 2
"""Of the log-probabilities of the answer's tokens, nats: their mean, and minus their root mean square, which a few
surprising tokens decide. Neither grows with length, as a sum or a smallest one does."""


class Scaling(NamedTuple):
    """From nats to features of mean 0 and deviation 1 on the answers that were labelled."""

    mean: Tensor
    """[2]"""
    std: Tensor
    """[2]"""

    def apply(self, likelihoods: Tensor) -> Tensor:
        """[N, 2] -> [N, 2]; bounded, since an answer in another language must not outweigh everything else."""
        return ((likelihoods - self.mean) / self.std).clamp(-4.0, 4.0)


@torch.no_grad()
def likelihoods(model: PolicyModel, batch: Batch, first_block: int = 0, below: Tensor | None = None) -> Tensor:
    """[N, 2] under the bare base, from a block up if the states `below` it are given."""
    with model.using():
        states = model.answer_states(model.hidden(batch, first_block=first_block, below=below), batch)
    logprobs = batch.unflatten(model.token_scores(states, batch.targets.to(model.device), 1.0).logprobs.cpu())
    tokens = batch.mask.sum(dim=1)
    return torch.stack([logprobs.sum(dim=1) / tokens, -(logprobs.square().sum(dim=1) / tokens).sqrt()], dim=1)


class KnownLikelihoods:
    """Likelihoods of rows, by row object, read once before training."""

    def __init__(self, model: PolicyModel, rows: Sequence[Row], trunk: Trunk, first_block: int) -> None:
        """Read all rows, batched by length, side by side, from `first_block` up where the trunk holds them."""

        def read(some: list[Row]) -> list[Tensor]:
            batch = batch_of(some, model.tokens.pad_id)
            below = trunk.below(some, batch) if trunk.holds(some) else None
            return list(likelihoods(model, batch, first_block, below))

        found = read_rows(model, rows, read)
        self._known = {id(row): (row, values) for row, values in zip(rows, found, strict=True)}

    def of(self, rows: Sequence[Row]) -> Tensor:
        """[N, 2]"""
        return torch.stack([self._known[id(row)][1] for row in rows])

    def scaling(self) -> Scaling:
        """Over the rows that were read."""
        values = torch.stack([values for _, values in self._known.values()])
        return Scaling(values.mean(dim=0), values.std(dim=0, correction=0).clamp(min=1e-3))

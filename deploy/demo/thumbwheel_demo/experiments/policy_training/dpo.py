"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290): the policy learns from pairs, without a
reward model or sampling in between. What PPO is compared with; the learner itself has no need of it.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import by_length
from thumbwheel_learner.reward.labels import Row, batch_of

POLICY = "dpo"


@dataclass(frozen=True)
class DpoConfig:
    """How pairs are learned."""

    beta: float = 0.1
    """Price of a nat of distance to the start, as in the paper's experiments on dialogue."""
    epochs: int = 2
    learning_rate: float = 1.5e-4
    """At a width of 192; a tenth of SFT's, with which the policy fell apart (see docs/experiments.md)."""
    batch_tokens: int = 1024
    """Padded tokens of chosen and rejected answers per step."""
    max_grad_norm: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class AnswerPair:
    """Two answers to one prompt, each with its end token."""

    chosen: Row
    rejected: Row

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rejected)


@dataclass(frozen=True)
class DpoReport:
    """What a run did."""

    pairs: int
    steps: int
    loss: float
    """Mean over the last epoch, nats per pair; log 2 at the start."""
    accuracy: float
    """Share of pairs whose margin was above zero when they were last seen."""
    seconds: float


def train_dpo(
    model: PolicyModel, start: Path, pairs: Sequence[AnswerPair], config: DpoConfig, folder: Path
) -> DpoReport:
    """Teach the pairs to a copy of `start`, which is the reference too, and write it to `folder`.

    Raises `ValueError` without pairs.
    """
    if not pairs:
        raise ValueError("no pairs to learn from")
    started = time.monotonic()
    model.start(POLICY, start, LoraConfig())
    lengths = [len(pair) for pair in pairs]
    reference = torch.zeros(len(pairs))
    with torch.no_grad():
        for group in by_length(lengths, config.batch_tokens):
            reference[group] = margins(model, [pairs[i] for i in group])

    generator = torch.Generator().manual_seed(config.seed)
    epochs = [list(by_length(lengths, config.batch_tokens, generator)) for _ in range(config.epochs)]
    steps = sum(map(len, epochs))
    parameters = model.parameters(POLICY)
    optimizer = torch.optim.AdamW(parameters, lr=model.rate(config.learning_rate), weight_decay=0.0)
    anneal = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: max(0.0, 1 - done / steps))
    loss_of, rewards = 0.0, torch.zeros(len(pairs))
    for batches in epochs:
        loss_of = 0.0
        for group in batches:
            gained = margins(model, [pairs[i] for i in group]) - reference[group]
            loss = dpo_loss(gained, config.beta)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            anneal.step()
            loss_of += loss.item() * len(group) / len(pairs)
            rewards[group] = gained.detach()
    model.save(POLICY, folder)
    accuracy = float((rewards > 0).float().mean())
    return DpoReport(len(pairs), steps, loss_of, accuracy, time.monotonic() - started)


def dpo_loss(gained: Tensor, beta: float) -> Tensor:
    """Mean of -log σ(β · gained) (equation 7 of the paper); `gained` [N] is by how much the margin grew, in nats."""
    return -logsigmoid(beta * gained).mean()


def margins(model: PolicyModel, pairs: Sequence[AnswerPair]) -> Tensor:
    """[N] log π(chosen) − log π(rejected), nats; differentiable."""
    rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    batch = batch_of(rows, model.tokens.pad_id)
    with model.using(POLICY):
        logprobs = batch.unflatten(model.score_answers(batch).logprobs).sum(dim=1)
    return logprobs[: len(pairs)] - logprobs[len(pairs) :]

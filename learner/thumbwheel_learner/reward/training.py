"""Training of the reward model: all members at once, every judgement by the likelihood of its kind.

Every metric and source: docs/algorithms/reward_model.md.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus

from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import by_length
from thumbwheel_learner.model.trunk import Trunk
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.labels import Item, Row, apart_from, items_of, mismatched, split_by_time, weighted
from thumbwheel_learner.reward.length_head import HeardLength, LengthHead
from thumbwheel_learner.reward.likelihood import KnownLikelihoods
from thumbwheel_learner.reward.meta_step import MetaStep
from thumbwheel_learner.reward.model import ALL, RewardModel
from thumbwheel_learner.reward.report import RewardReport, report_on


class TooFewLabels(LearnerError):
    """Nothing to learn a reward from."""


def train_reward(
    model: PolicyModel,
    snapshot: Snapshot,
    config: RewardConfig,
    folder: Path,
    *,
    weights: Mapping[str, float] | None = None,
    stands_for: Mapping[str, float] | None = None,
    extra: Sequence[Item] = (),
    shifted: Sequence[Sequence[Row]] = (),
    progress: Progress = silent,
    prefix: str = "reward",
) -> tuple[RewardModel, RewardReport]:
    """Train on the older labels, report on the newest, save to `folder`; `weights` by user and what a label
    `stands_for` by event, 1 where none is given.

    `extra` judgements, no person's, are trained on alone: never reported on, counted, or on a prompt that is held out.
    `shifted` are unlabelled answers of the current policy, two or more to a prompt, for the meta step alone.
    Raises `TooFewLabels` when no label is left to train on.
    """
    started = time.monotonic()
    heard = items_of(snapshot, model.tokens, config.max_length, config.outcomes)
    items = weighted(heard, weights or {}, stands_for or {})
    train, test = split_by_time(items, config.held_out)
    if not train:
        raise TooFewLabels("the snapshot holds no thumb, rating, flag or pair to train on")
    reward = RewardModel(model, config, prefix)
    people = mismatched(train, config.mismatched, config.max_length, random.Random(config.seed))
    loss = _fit(reward, [*people, *apart_from(extra, test)], shifted, config, progress)
    rows = [row for item in train for row in item.rows]
    with torch.no_grad():
        reward.center = reward.score_rows(rows).members.mean(dim=0)
    report = report_on(reward, train, test, train_loss=loss, seconds=time.monotonic() - started)
    reward.thumb_bias.data += report.shift
    reward.temperature, reward.lapse, reward.report = report.temperature, report.lapse, report.as_dict()
    reward.save(folder)
    return reward, report


def _fit(
    reward: RewardModel, train: list[Item], shifted: Sequence[Sequence[Row]], config: RewardConfig, progress: Progress
) -> float:
    """All members at once, each with its own weights; returns the last epoch's mean loss."""
    # 1. What is learned from, and what learns.
    generator = torch.Generator().manual_seed(config.seed)
    lesson = _lesson(reward, train, config, generator)
    length = lesson.length
    meta = MetaStep(reward, shifted, config.meta_rate, generator)
    reward.thumb_bias.data.fill_(_base_rate(train))
    fast = [reward.head, reward.thumb_bias, reward.cutpoints, lesson.user_bias, *([length.head] if length else [])]
    slow = [p for name in reward.names for p in reward.model.parameters(name)]
    optimizer = _optimizer(reward, slow, fast)
    rates = [group["lr"] for group in optimizer.param_groups]
    every = [p for group in optimizer.param_groups for p in group["params"]]
    # 2. All steps, before the first is taken: the learning rate follows them.
    lengths = [sum(len(r) for r in i.rows) for i in train]
    passes = passes_over(len(train), config)
    epochs = [list(by_length(lengths, config.batch_tokens, generator)) for _ in range(passes)]
    steps, step, epoch_loss = sum(map(len, epochs)), 0, 0.0
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps + 1, pct_start=0.1)
    for epoch, batches in enumerate(epochs):
        epoch_loss = 0.0
        for group in batches:
            # 3. Gradients in parts: each member by itself where its states below are kept.
            kept = lesson.trunk.holds([row for i in group for row in train[i].rows])
            members = [slice(k, k + 1) for k in range(config.members)] if kept else [ALL]
            parts = [
                _Part(which, [group[i] for i in part], len(group), kept)
                for part in by_length([lengths[i] for i in group], config.part_tokens)
                for which in members
            ]
            with meta.moved():
                told = reward.model.side_by_side.add_gradients(lesson.loss_of, parts, every)
            prior = 0.5 * config.user_bias_precision * lesson.user_bias.square().sum()
            (prior / (len(train) * config.members)).backward()
            # 4. The step.
            nn.utils.clip_grad_norm_(slow, config.max_grad_norm * config.members**0.5)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            loss = lesson.heard(told)
            epoch_loss += loss / len(batches)
            step += 1
            progress("reward", step / steps, f"epoch {epoch + 1}/{passes}, loss {loss:.3f}")
        if epoch_loss < config.fitted:
            break
    if length:
        reward.thumb_bias.data += length.level()
    if reward.frozen:
        reward.frozen.forget()
    return epoch_loss


class _Part(NamedTuple):
    """One forward and backward pass of a step."""

    members: slice
    items: list[int]
    of: int
    """Items in the whole step."""
    kept: bool
    """Whether the trunk holds their states."""


@dataclass(frozen=True)
class _Lesson:
    """What every step needs to know: the labels, who gave them, and what is read of them but once."""

    reward: RewardModel
    items: list[Item]
    users: list[int]
    """Number of each item's user."""
    weights: Tensor
    """[K, items]"""
    user_bias: nn.Parameter
    """[K, users]"""
    trunk: Trunk
    known: KnownLikelihoods | None
    length: LengthHead | None

    def loss_of(self, part: _Part) -> tuple[Tensor, tuple[float, HeardLength | None]]:
        """This part's share of the step's loss; its labels' alone, and what the length head is to remember."""
        config, which = self.reward.config, part.members
        items = [self.items[i] for i in part.items]
        bias = self.user_bias[which, [self.users[i] for i in part.items]]
        trunk = self.trunk if part.kept else None
        losses = _losses(self.reward, items, bias, trunk, self.known, which, self.length)
        weighed = losses.per_item * self.weights[which, part.items]
        loss = weighed.sum() / (part.of * config.members)
        level = config.centering * losses.level.square().sum()
        if self.length and losses.heard:
            level = level + config.length_head * self.length.loss(losses.heard, self.reward.head[which])
        share = len(part.items) / (part.of * config.members)
        return loss + level * share, (loss.item(), losses.heard)

    def heard(self, told: Sequence[tuple[float, HeardLength | None]]) -> float:
        """The step's loss, once all parts are done; the length head remembers what it said."""
        for _, said in told:
            if self.length and said:
                self.length.remember(said)
        return sum(loss for loss, _ in told)


def _lesson(reward: RewardModel, train: list[Item], config: RewardConfig, generator: torch.Generator) -> _Lesson:
    numbers = {u: i for i, u in enumerate(dict.fromkeys(i.user for i in train))}
    users = [numbers[i.user] for i in train]
    weights = _bootstrap_weights(len(numbers), config, generator)[:, users] * torch.tensor([i.weight for i in train])
    user_bias = nn.Parameter(torch.zeros(config.members, len(numbers)))
    trunk, known = _read_once(reward, [row for i in train for row in i.rows], config)
    length = LengthHead(config.members, reward.head.shape[1], generator) if config.length_head else None
    return _Lesson(reward, train, users, weights, user_bias, trunk, known, length)


def _optimizer(reward: RewardModel, slow: list[nn.Parameter], fast: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Three groups at their highest rates: adapters; heads and biases; weights on the likelihood."""
    config, rate = reward.config, reward.model.rate
    return torch.optim.AdamW(
        [
            {"params": slow, "lr": rate(config.learning_rate), "weight_decay": config.weight_decay},
            {"params": fast, "lr": rate(config.head_learning_rate)},
            {"params": [reward.likelihood_head], "lr": config.likelihood_learning_rate},
        ],
        weight_decay=0.0,
    )


def _read_once(reward: RewardModel, rows: Sequence[Row], config: RewardConfig) -> tuple[Trunk, KnownLikelihoods | None]:
    """What no step changes: the states below the adapters, and how likely the base finds the answers."""
    trunk = Trunk(reward.model, reward.first_block, rows, 0 if reward.frozen else config.trunk_bytes)
    known = KnownLikelihoods(reward.model, rows, trunk, reward.first_block) if config.likelihood else None
    if known:
        reward.scaling = known.scaling()
    if reward.frozen:
        reward.frozen.keep(rows)
    return trunk, known


def passes_over(labels: int, config: RewardConfig) -> int:
    """Epochs: what the configuration says, or as many as it takes to see so many judgements."""
    return config.epochs or min(16, max(1, round(config.judgements / labels)))


def _base_rate(items: Sequence[Item]) -> float:
    """Log-odds of a thumb up: where the bias starts, so that no step is spent on finding it."""
    votes = [i.value for i in items if i.kind in ("thumb", "flag")]
    return math.log((sum(votes) + 1) / (len(votes) - sum(votes) + 1))


def _bootstrap_weights(users: int, config: RewardConfig, generator: torch.Generator) -> Tensor:
    """[K, users] how often each member sees each user: Poisson(1) (online bagging, Oza 2001), rescaled to mean 1."""
    if not config.bootstrap or config.members == 1 or users < 5:
        return torch.ones(config.members, users)
    weights = torch.poisson(torch.ones(config.members, users), generator=generator)
    return weights * users / weights.sum(dim=1, keepdim=True).clamp(min=1)


class _Losses(NamedTuple):
    per_item: Tensor
    """[K, items]"""
    level: Tensor
    """[K] mean score of the batch."""
    heard: HeardLength | None


def _losses(
    reward: RewardModel,
    items: Sequence[Item],
    bias: Tensor,
    trunk: Trunk | None,
    known: KnownLikelihoods | None,
    members: slice,
    length: LengthHead | None,
) -> _Losses:
    """Negative log-likelihood of every judgement under these members; `bias` [K, items] is the users' own.

    With a length head the judgements are explained by both heads together.
    """
    rows = [row for item in items for row in item.rows]
    quality, features = reward.reading(rows, trunk, members, known.of(rows) if known else None)
    heard = length.read(features, quality, rows, members) if length else None
    scores = quality + heard.length if heard else quality
    starts = torch.tensor([len(i.rows) for i in items]).cumsum(0) - torch.tensor([len(i.rows) for i in items])
    first = scores[:, starts]
    value = torch.tensor([i.value for i in items]).expand_as(first)
    kinds = [i.kind for i in items]
    out = torch.zeros_like(first)
    beaten = [(n, at) for n, i in enumerate(items) if i.kind == "pair" for at in range(1, len(i.rows))]
    if beaten:
        pair, at = torch.tensor(beaten).T
        margin, preferred = first[:, pair] - scores[:, starts[pair] + at], value[:, pair]
        out = out.index_add(1, pair, -preferred * logsigmoid(margin) - (1 - preferred) * logsigmoid(-margin))
    binary = torch.tensor([k in ("thumb", "flag", "outcome") for k in kinds])
    if bool(binary.any()):
        logits = first[:, binary] + reward.thumb_bias[members, None] + bias[:, binary]
        out[:, binary] = binary_cross_entropy_with_logits(logits, value[:, binary], reduction="none")
    rating = torch.tensor([k == "rating" for k in kinds])
    if bool(rating.any()):
        out[:, rating] = ordinal_nll(first[:, rating] + bias[:, rating], value[:, rating], reward.cutpoints)
    return _Losses(out, quality.mean(dim=1), heard)


def ordinal_nll(scores: Tensor, ratings: Tensor, cutpoints: Tensor) -> Tensor:
    """-log P(rating) under cumulative logits, P(rating > j) = sigmoid(score - c_j) with c ordered (McCullagh 1980).

    `scores` and `ratings` (1 to 5) have one shape; `cutpoints` [4] are free numbers: the first is c_1, the others
    are added through softplus, so that order holds whatever the optimiser does.
    """
    gaps = softplus(cutpoints[1:])
    ordered = torch.cat([cutpoints[:1], cutpoints[:1] + gaps.cumsum(0)])
    above = torch.sigmoid(scores[..., None] - ordered)
    edges = torch.cat([torch.ones_like(above[..., :1]), above, torch.zeros_like(above[..., :1])], dim=-1)
    probability = edges[..., :-1] - edges[..., 1:]
    index = (ratings.long() - 1).clamp(0, 4)[..., None]
    return -probability.gather(-1, index).squeeze(-1).clamp(min=1e-6).log()

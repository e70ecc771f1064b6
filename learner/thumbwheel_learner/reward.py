"""The reward model: K small adapters with scalar heads on the frozen base, from everything people say.

Pairs by Bradley-Terry, thumbs by logistic regression with a bias per user, ratings by cumulative logits, flags as
down-votes. Each member sees its own bootstrap of the users; the mean is the reward, the spread the uncertainty.
Every metric and source: docs/algorithms/reward_model.md.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus

from thumbwheel_learner.adapters import BadAdapter
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.examples import Messages, Snapshot
from thumbwheel_learner.labels import Item, Row, items_of, split_by_time
from thumbwheel_learner.lora import LoraConfig
from thumbwheel_learner.model import PolicyModel
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.reward_report import RewardReport, report_on
from thumbwheel_learner.tokens import Batch, by_length, fit, make_batch

DESCRIPTION, HEADS = "reward.json", "heads.safetensors"


@dataclass(frozen=True)
class RewardConfig:
    """How the reward model is trained."""

    members: int = 3
    rank: int = 8
    alpha: int = 16
    adapted_blocks: float = 0.25
    """Upper share of the transformer blocks that carry adapters; the members share one pass through the rest."""
    pooling: Literal["last", "mean", "both"] = "both"
    """What the head reads: the state at the end token, the mean over the answer, or the two side by side."""
    epochs: int = 4
    batch_tokens: int = 512
    """Padded tokens per step and member: small steps learned more from few labels than large ones, in less time."""
    part_tokens: int = 256
    """Padded tokens per forward and backward pass; a step of more goes through in parts, side by side."""
    max_length: int = 512
    """Tokens of prompt and answer together; the far end of a longer prompt is cut."""
    learning_rate: float = 4e-3
    """At a width of 192; wider models get less (`PolicyModel.rate`), here and for the heads."""
    head_learning_rate: float = 4e-3
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    user_bias_precision: float = 4.0
    """Gaussian prior on each user's bias: 1 / variance, in logits."""
    centering: float = 0.01
    """Weight of (mean reward)^2: fixes the level that pairs leave free."""
    prior_scale: float = 0.0
    """Scale of each member's fixed random head on its untrained features (Osband et al. 2018); 0 leaves it out."""
    bootstrap: bool = True
    """Each member weighs users by its own Poisson(1) draw, as a bootstrap of users does."""
    held_out: float = 0.15
    seed: int = 0


class TooFewLabels(LearnerError):
    """Nothing to learn a reward from."""


class RewardScores(NamedTuple):
    """Scores of answers, on the scale of the members' logits, centred on the training answers."""

    mean: Tensor
    """[N] over members."""
    std: Tensor
    """[N] disagreement of the members."""
    members: Tensor
    """[N, K]"""


class RewardModel:
    """Members `<prefix>_0` … on a `PolicyModel`, with their heads."""

    def __init__(self, model: PolicyModel, config: RewardConfig, prefix: str) -> None:
        """Fresh members; what they say means nothing before training."""
        self.model = model
        self.config = config
        self.names = tuple(f"{prefix}_{k}" for k in range(config.members))
        self.first_block = model.blocks.above(config.adapted_blocks)
        for name in self.names:
            model.remove(name)
            model.add(name, LoraConfig(config.rank, config.alpha), first_block=self.first_block)
        generator = torch.Generator().manual_seed(config.seed + 1)
        width = model.hidden_size * (2 if config.pooling == "both" else 1)
        k = config.members
        self.head = nn.Parameter(0.1 * torch.randn(k, width, generator=generator) / width**0.5)
        self.prior = torch.randn(k, width, generator=generator) / width**0.5
        self.thumb_bias = nn.Parameter(torch.zeros(k))
        self.cutpoints = nn.Parameter(torch.tensor([-1.5, -0.5, 0.5, 1.5]))
        self.center = torch.zeros(k)
        self.temperature = 1.0
        self.report: dict[str, Any] = {}

    def features(self, rows: Sequence[Row], names: tuple[str, ...]) -> Tensor:
        """[K, N, F] what the heads read, every member in the same forward pass."""
        batch = make_batch([r.prompt for r in rows], [r.answer for r in rows], pad_id=self.model.tokens.pad_id)
        with self.model.using(*names):
            hidden = self.model.hidden(batch, repeats=max(1, len(names)), first_block=self.first_block)
        hidden = hidden.view(max(1, len(names)), *batch.ids.shape, -1).float()
        parts: list[Tensor] = []
        if self.config.pooling != "mean":
            parts.append(hidden[:, torch.arange(len(rows)), batch.last])
        if self.config.pooling != "last":
            parts.append(_mean_over_answers(hidden, batch))
        return torch.cat(parts, dim=-1).cpu()

    def raw(self, rows: Sequence[Row]) -> Tensor:
        """[K, N] logits before centring; differentiable."""
        scores = torch.einsum("knf,kf->kn", self.features(rows, self.names), self.head)
        if self.config.prior_scale:
            with torch.no_grad():
                prior = torch.einsum("nf,kf->kn", self.features(rows, ())[0], self.prior)
            scores = scores + self.config.prior_scale * prior
        return scores

    @torch.no_grad()
    def score_rows(self, rows: Sequence[Row]) -> RewardScores:
        """Score token rows, batched by length."""
        groups = list(by_length([len(r) for r in rows], self.config.part_tokens))
        scored = self.model.side_by_side.map(lambda group: self.raw([rows[i] for i in group]), groups)
        members = torch.zeros(len(rows), len(self.names))
        for group, scores in zip(groups, scored, strict=True):
            members[group] = (scores - self.center[:, None]).T
        spread = members.std(dim=1, correction=0)
        return RewardScores(members.mean(dim=1), spread, members)

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        """Score answer texts after prompt ids, each closed with the end-of-turn token as in training."""
        tokens, limit = self.model.tokens, self.config.max_length
        return self.score_rows(
            [Row(*fit(p, tokens.answer_ids(a), limit)) for p, a in zip(prompts, answers, strict=True)]
        )

    def score_messages(self, conversations: Sequence[Messages], answers: Sequence[str]) -> RewardScores:
        """`score` for conversations that are not tokenised yet."""
        return self.score([self.model.tokens.prompt_ids(m) for m in conversations], answers)

    def p_up(self, scores: RewardScores) -> Tensor:
        """[N] calibrated probability that a typical user gives a thumb up."""
        offset = (self.center + self.thumb_bias.detach()).mean()
        return torch.sigmoid((scores.mean + offset) / self.temperature)

    def identity(self) -> str:
        """Digest of everything the scores depend on."""
        digest = hashlib.sha256(self.center.numpy().tobytes() + self.head.detach().numpy().tobytes())
        for parameter in (p for name in self.names for p in self.model.parameters(name)):
            digest.update(parameter.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> Path:
        """Write heads, members (PEFT folders) and description, the description last."""
        folder.mkdir(parents=True, exist_ok=True)
        for k, name in enumerate(self.names):
            self.model.save(name, folder / f"member_{k}")
        tensors = {"head": self.head, "prior": self.prior, "thumb_bias": self.thumb_bias, "cutpoints": self.cutpoints}
        save_file({k: v.detach().contiguous() for k, v in {**tensors, "center": self.center}.items()}, folder / HEADS)
        described = {"config": asdict(self.config), "temperature": self.temperature, "report": self.report}
        temporary = folder / f".{DESCRIPTION}"
        temporary.write_text(json.dumps(described, indent=2) + "\n")
        temporary.rename(folder / DESCRIPTION)
        return folder


def _mean_over_answers(hidden: Tensor, batch: Batch) -> Tensor:
    """[K, B, T, D] -> [K, B, D], over the tokens of each answer (the columns after the ones that predict them)."""
    weights = torch.zeros(batch.ids.shape, device=hidden.device)
    weights[batch.rows, batch.columns + 1] = 1.0
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.einsum("kbtd,bt->kbd", hidden, weights)


def load_reward(model: PolicyModel, folder: Path, *, prefix: str = "reward") -> RewardModel:
    """Put a saved reward model on the base; raises `BadAdapter` when the folder is incomplete or of another base."""
    try:
        described: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
        reward = RewardModel(model, RewardConfig(**described["config"]), prefix)
        tensors = load_file(folder / HEADS)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadAdapter(f"{folder}: not a reward model: {error}") from error
    for k, name in enumerate(reward.names):
        model.load(name, folder / f"member_{k}")
    with torch.no_grad():
        reward.head.copy_(tensors["head"])
        reward.thumb_bias.copy_(tensors["thumb_bias"])
        reward.cutpoints.copy_(tensors["cutpoints"])
    reward.prior, reward.center = tensors["prior"], tensors["center"]
    reward.temperature = float(described["temperature"])
    reward.report = described["report"]
    return reward


def train_reward(
    model: PolicyModel,
    snapshot: Snapshot,
    config: RewardConfig,
    folder: Path,
    *,
    progress: Progress = silent,
    prefix: str = "reward",
) -> tuple[RewardModel, RewardReport]:
    """Train on the older labels, report on the newest, save to `folder`.

    Raises `TooFewLabels` when no label is left to train on.
    """
    started = time.monotonic()
    train, test = split_by_time(items_of(snapshot, model.tokens, config.max_length), config.held_out)
    if not train:
        raise TooFewLabels("the snapshot holds no thumb, rating, flag or pair to train on")
    reward = RewardModel(model, config, prefix)
    loss = _fit(reward, train, config, progress)
    rows = [row for item in train for row in item.rows]
    with torch.no_grad():
        reward.center = reward.score_rows(rows).members.mean(dim=0)
    report = report_on(reward, train, test, train_loss=loss, seconds=time.monotonic() - started)
    reward.temperature, reward.report = report.temperature, report.as_dict()
    reward.save(folder)
    return reward, report


def _fit(reward: RewardModel, train: list[Item], config: RewardConfig, progress: Progress) -> float:
    """All members at once, each with its own weights; returns the last epoch's mean loss."""
    generator = torch.Generator().manual_seed(config.seed)
    users = {u: i for i, u in enumerate(dict.fromkeys(i.user for i in train))}
    weights = _bootstrap_weights(len(users), config, generator)
    user_bias = nn.Parameter(torch.zeros(config.members, len(users)))
    reward.thumb_bias.data.fill_(_base_rate(train))
    fast = [reward.head, reward.thumb_bias, reward.cutpoints, user_bias]
    slow = [p for name in reward.names for p in reward.model.parameters(name)]
    rates = [reward.model.rate(r) for r in (config.learning_rate, config.head_learning_rate)]
    optimizer = torch.optim.AdamW(
        [
            {"params": slow, "lr": rates[0], "weight_decay": config.weight_decay},
            {"params": fast, "lr": rates[1], "weight_decay": 0.0},
        ]
    )
    lengths = [sum(len(r) for r in i.rows) for i in train]
    epochs = [list(by_length(lengths, config.batch_tokens, generator)) for _ in range(config.epochs)]
    steps, step, epoch_loss = sum(map(len, epochs)), 0, 0.0
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps + 1, pct_start=0.1)
    for epoch, batches in enumerate(epochs):
        epoch_loss = 0.0
        for group in batches:
            parts = [[group[i] for i in part] for part in by_length([lengths[i] for i in group], config.part_tokens)]

            def loss_of(part: list[int], size: int = len(group)) -> tuple[Tensor, float]:
                items = [train[i] for i in part]
                who = torch.tensor([users[i.user] for i in items])
                losses = _losses(reward, items, user_bias[:, who])
                weight = weights[:, who] * torch.tensor([i.weight for i in items])
                loss = (losses.per_item * weight).sum() / (size * config.members)
                level = config.centering * losses.level.square().mean() * len(part) / size
                return loss + level, loss.item()

            loss = sum(reward.model.side_by_side.add_gradients(loss_of, parts, [*slow, *fast]))
            shrink = 0.5 * config.user_bias_precision * user_bias.square().sum() / (len(train) * config.members)
            shrink.backward()
            nn.utils.clip_grad_norm_(slow, config.max_grad_norm * config.members**0.5)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            epoch_loss += loss / len(batches)
            step += 1
            progress("reward", step / steps, f"epoch {epoch + 1}/{config.epochs}, loss {loss:.3f}")
    return epoch_loss


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


def _losses(reward: RewardModel, items: Sequence[Item], bias: Tensor) -> _Losses:
    """Negative log-likelihood of every judgement under every member; `bias` [K, items] is the users' own."""
    scores = reward.raw([row for item in items for row in item.rows])
    starts = torch.tensor([len(i.rows) for i in items]).cumsum(0) - torch.tensor([len(i.rows) for i in items])
    first = scores[:, starts]
    value = torch.tensor([i.value for i in items]).expand_as(first)
    kinds = [i.kind for i in items]
    out = torch.zeros_like(first)
    pair = torch.tensor([k == "pair" for k in kinds])
    if bool(pair.any()):
        margin = first[:, pair] - scores[:, starts[pair] + 1]
        out[:, pair] = -value[:, pair] * logsigmoid(margin) - (1 - value[:, pair]) * logsigmoid(-margin)
    binary = torch.tensor([k in ("thumb", "flag") for k in kinds])
    if bool(binary.any()):
        logits = first[:, binary] + reward.thumb_bias[:, None] + bias[:, binary]
        out[:, binary] = binary_cross_entropy_with_logits(logits, value[:, binary], reduction="none")
    rating = torch.tensor([k == "rating" for k in kinds])
    if bool(rating.any()):
        out[:, rating] = ordinal_nll(first[:, rating] + bias[:, rating], value[:, rating], reward.cutpoints)
    return _Losses(out, scores.mean(dim=1))


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

"""The reward model: K small adapters with scalar heads on the frozen base, or the heads alone; their mean is the
reward, their spread the uncertainty.

How it learns: training.py; every metric and source: docs/algorithms/reward_model.md.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from thumbwheel_learner.dataset.examples import Messages
from thumbwheel_learner.measures import Calibration, numbered
from thumbwheel_learner.model.adapters import BadAdapter
from thumbwheel_learner.model.lora import LoraConfig, UnsuitableModel
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.reading import read_rows
from thumbwheel_learner.model.tokens import Batch, fit
from thumbwheel_learner.model.trunk import Trunk
from thumbwheel_learner.reward.attention import answer_attention
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.frozen_trunk import frozen_trunk
from thumbwheel_learner.reward.labels import Row, batch_of
from thumbwheel_learner.reward.likelihood import FEATURES, Scaling, likelihoods
from thumbwheel_learner.reward.pooling import pooled

DESCRIPTION, HEADS = "reward.json", "heads.safetensors"
ALL = slice(None)


class Reading(NamedTuple):
    """What a forward pass makes of answers; differentiable."""

    scores: Tensor
    """[K, N] logits before centring."""
    features: Tensor
    """[K, N, F] what the heads read."""


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
        self.first_block = model.blocks.above(config.adapted_blocks)
        self.frozen = frozen_trunk(model, config, self.first_block)
        self.names = () if self.frozen else tuple(f"{prefix}_{k}" for k in range(config.members))
        for name in self.names:
            model.remove(name)
            model.add(name, LoraConfig(config.rank, config.alpha), first_block=self.first_block)
        generator = torch.Generator().manual_seed(config.seed + 1)
        width = self.frozen.width if self.frozen else model.hidden_size * (2 if config.pooling == "both" else 1)
        k = config.members
        self.head = nn.Parameter(0.1 * torch.randn(k, width, generator=generator) / width**0.5)
        self.prior = torch.randn(k, width, generator=generator) / width**0.5
        self.likelihood_head = nn.Parameter(torch.zeros(k, FEATURES))
        self.scaling = Scaling(torch.zeros(FEATURES), torch.ones(FEATURES))
        self.thumb_bias = nn.Parameter(torch.zeros(k))
        self.cutpoints = nn.Parameter(torch.tensor([-1.5, -0.5, 0.5, 1.5]))
        self.center = torch.zeros(k)
        self.temperature = 1.0
        self.lapse = 0.0
        self.report: dict[str, Any] = {}

    def features(self, rows: Sequence[Row], batch: Batch, members: slice, below: Tensor | None = None) -> Tensor:
        """[K, N, F] what these members' heads read, from the states `below` up if given."""
        if self.frozen is None:
            return self._adapted(batch, self.names[members], below)
        count = len(range(self.config.members)[members])
        return self.frozen.read(rows, batch, below).expand(count, -1, -1)

    def _adapted(self, batch: Batch, names: tuple[str, ...], below: Tensor | None) -> Tensor:
        """[K, N, F] under these adapters, all in the same forward pass; of the bare base for none."""
        with self.model.using(*names):
            hidden = self.model.hidden(batch, repeats=max(1, len(names)), first_block=self.first_block, below=below)
        hidden = hidden.view(max(1, len(names)), *batch.ids.shape, -1).float()
        return pooled(hidden, batch, self.config.pooling).cpu()

    def raw(
        self, rows: Sequence[Row], trunk: Trunk | None = None, members: slice = ALL, known: Tensor | None = None
    ) -> Tensor:
        """[K, N] logits of these members before centring; see `reading`."""
        return self.reading(rows, trunk, members, known).scores

    def reading(
        self, rows: Sequence[Row], trunk: Trunk | None = None, members: slice = ALL, known: Tensor | None = None
    ) -> Reading:
        """Logits of these members, and what their heads read.

        `trunk` holds what the lower blocks make of the rows, `known` [N, 2] how likely the base finds the answers;
        what is not given is read anew.
        """
        batch = batch_of(rows, self.model.tokens.pad_id)
        told = self.frozen is not None and self.frozen.holds(rows) and (known is not None or not self.config.likelihood)
        below = None if told else trunk.below(rows, batch) if trunk else self._below(batch)
        features = self.features(rows, batch, members, below)
        scores = torch.einsum("knf,kf->kn", features, self.head[members])
        if self.config.prior_scale:
            with torch.no_grad():
                plain = features[0] if self.frozen else self._adapted(batch, (), below)[0]
                prior = torch.einsum("nf,kf->kn", plain, self.prior[members])
            scores = scores + self.config.prior_scale * prior
        if self.config.likelihood:
            known = likelihoods(self.model, batch, self.first_block, below) if known is None else known
            scores = scores + self.likelihood_head[members] @ self.scaling.apply(known).T
        return Reading(scores, features)

    def _below(self, batch: Batch) -> Tensor | None:
        """What all passes share: the frozen blocks below the adapters, if this model can be entered above them."""
        return self.model.states_below(batch, self.first_block) if self.model.resumes_at(self.first_block) else None

    def _centred(self, rows: Sequence[Row]) -> list[Tensor]:
        """[K] of every row."""
        return list((self.raw(rows) - self.center[:, None]).T)

    @torch.no_grad()
    def score_rows(self, rows: Sequence[Row]) -> RewardScores:
        """Score token rows, batched by length; what comes several times is read once."""
        same = numbered((tuple(row.prompt), tuple(row.answer)) for row in rows)
        first = np.unique(same, return_index=True)[1]
        scored = read_rows(self.model, [rows[i] for i in first], self._centred)
        members = torch.stack([scored[i] for i in same]) if scored else torch.zeros(0, self.config.members)
        spread = members.std(dim=1, correction=0)
        return RewardScores(members.mean(dim=1), spread, members)

    @torch.no_grad()
    def vectors(self, rows: Sequence[Row]) -> Tensor:
        """[N, F] what the heads read, the members' mean: by this the learner's questions are told apart."""

        def read(some: Sequence[Row]) -> list[Tensor]:
            batch = batch_of(some, self.model.tokens.pad_id)
            return list(self.features(some, batch, ALL, self._below(batch)).mean(dim=0))

        found = read_rows(self.model, rows, read)
        return torch.stack(found) if found else torch.zeros(0, self.head.shape[1])

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        """Score answer texts after prompt ids, each closed with the end-of-turn token as in training."""
        tokens, limit = self.model.tokens, self.config.max_length
        return self.score_rows(
            [Row(*fit(p, tokens.answer_ids(a), limit)) for p, a in zip(prompts, answers, strict=True)]
        )

    def score_messages(self, conversations: Sequence[Messages], answers: Sequence[str]) -> RewardScores:
        """`score` for conversations that are not tokenised yet."""
        return self.score([self.model.tokens.prompt_ids(m) for m in conversations], answers)

    def attention(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[Tensor]:
        """Per answer (token ids) [A] shares of its tokens: what the score looked at; see `answer_attention`.

        Raises `UnsuitableModel` where nothing below the heads was trained to look at anything.
        """
        if self.frozen:
            raise UnsuitableModel("a reward model of heads alone does not say which words it looked at")
        rows = [Row(*fit(p, a, self.config.max_length)) for p, a in zip(prompts, answers, strict=True)]
        return answer_attention(self.model, self.names, self.first_block, rows)

    def p_up(self, scores: RewardScores) -> Tensor:
        """[N] calibrated probability that a typical user gives a thumb up."""
        calibrated = Calibration(self.temperature, float(self.offset), self.lapse)
        return torch.from_numpy(calibrated.apply(scores.mean.double().numpy())).float()

    @property
    def offset(self) -> Tensor:
        """Added to a reward before it is an up-vote's logit."""
        return (self.center + self.thumb_bias.detach()).mean()

    def identity(self) -> str:
        """Digest of everything the scores depend on."""
        digest = hashlib.sha256()
        digest.update(self.config.trunk.encode())
        for tensor in (self.center, self.head, self.likelihood_head, *self.scaling):
            digest.update(tensor.detach().numpy().tobytes())
        for parameter in (p for name in self.names for p in self.model.parameters(name)):
            digest.update(parameter.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> Path:
        """Write members (PEFT folders), heads and description, the description last."""
        for k, name in enumerate(self.names):
            self.model.save(name, folder / f"member_{k}")
        self.model.world.from_first(lambda: self._save_heads(folder))
        return folder

    def _save_heads(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"head": self.head, "prior": self.prior, "thumb_bias": self.thumb_bias, "cutpoints": self.cutpoints}
        tensors |= {"likelihood_head": self.likelihood_head, "center": self.center}
        tensors |= {"likelihood_mean": self.scaling.mean, "likelihood_std": self.scaling.std}
        if self.frozen:
            tensors |= {"states_mean": self.frozen.scaling.mean, "states_std": self.frozen.scaling.std}
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / HEADS)
        calibration = {"temperature": self.temperature, "lapse": self.lapse}
        described = {"config": asdict(self.config), **calibration, "report": self.report}
        temporary = folder / f".{DESCRIPTION}"
        temporary.write_text(json.dumps(described, indent=2) + "\n")
        temporary.rename(folder / DESCRIPTION)


def load_reward(model: PolicyModel, folder: Path, *, prefix: str = "reward") -> RewardModel:
    """Put a saved reward model on the base; raises `BadAdapter` when the folder is incomplete or of another base."""
    try:
        described, tensors = model.world.from_first(lambda: _read(folder))
        reward = RewardModel(model, RewardConfig(**described["config"]), prefix)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadAdapter(f"{folder}: not a reward model: {error}") from error
    for k, name in enumerate(reward.names):
        model.load(name, folder / f"member_{k}")
    try:
        with torch.no_grad():
            for name in ("head", "likelihood_head", "thumb_bias", "cutpoints"):
                getattr(reward, name).copy_(tensors[name])
        reward.prior, reward.center = tensors["prior"], tensors["center"]
        reward.scaling = Scaling(tensors["likelihood_mean"], tensors["likelihood_std"])
        if reward.frozen:
            reward.frozen.scaling = Scaling(tensors["states_mean"], tensors["states_std"])
    except (KeyError, RuntimeError) as error:
        raise BadAdapter(f"{folder}: its heads are those of another version of this software: {error}") from error
    reward.temperature, reward.lapse = float(described["temperature"]), float(described.get("lapse", 0.0))
    reward.report = described["report"]
    return reward


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return json.loads((folder / DESCRIPTION).read_text()), load_file(folder / HEADS)

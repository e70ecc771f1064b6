"""What an iteration of PPO learns from: prompts drawn, answers checked, and what the models make of them."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.state import POLICY, REFERENCE, Experience, PpoRun
from thumbwheel_learner.rollouts.engine import Rollout


class BrokenRollout(LearnerError):
    """The engine returned something that is not a sampled answer."""


def draw_prompts(count: int, iteration: int, config: PpoConfig) -> list[int]:
    """Indices for an iteration: every prompt once before any comes again, in an order that depends on the seed only."""
    first = iteration * config.prompts_per_iteration
    positions = range(first, first + config.prompts_per_iteration)
    rounds = {position // count for position in positions}
    generators = {r: torch.Generator().manual_seed(config.seed * 100_003 + r) for r in rounds}
    orders: dict[int, list[int]] = {r: torch.randperm(count, generator=g).tolist() for r, g in generators.items()}
    return [orders[position // count][position % count] for position in positions]


def check_rollouts(rollouts: Sequence[Rollout], wanted: int) -> None:
    """Raise `BrokenRollout` unless all answers are there, with tokens and one finite log-probability for each."""
    if len(rollouts) != wanted:
        raise BrokenRollout(f"{len(rollouts)} answers where {wanted} were asked for")
    for n, rollout in enumerate(rollouts):
        if not rollout.token_ids or len(rollout.token_ids) != len(rollout.logprobs):
            raise BrokenRollout(
                f"answer {n}: {len(rollout.token_ids)} tokens, {len(rollout.logprobs)} log-probabilities"
            )
        if not all(map(math.isfinite, rollout.logprobs)):
            raise BrokenRollout(f"answer {n}: a log-probability is not finite")


class _Seen(NamedTuple):
    """What the models make of a group of answers, padded [B, A]."""

    logprobs: Tensor
    reference: Tensor
    kl: Tensor
    values: Tensor
    states: list[Tensor]
    entropy: float


@torch.no_grad()
def observe(run: PpoRun, prompts: list[list[int]], rollouts: Sequence[Rollout]) -> Experience:
    """Log-probabilities, values and features of fresh answers, in one pass per adapter, batched by length."""
    model, config = run.model, run.config
    answers = [r.token_ids for r in rollouts]
    sizes = torch.tensor([len(a) for a in answers])
    shape = (len(answers), int(sizes.max()))
    out = Experience(
        prompts=prompts,
        answers=answers,
        mask=torch.arange(shape[1])[None, :] < sizes[:, None],
        logprobs=torch.zeros(shape),
        reference=torch.zeros(shape),
        kl=torch.zeros(shape),
        behaviour=torch.zeros(shape),
        values=torch.zeros(shape),
        states=[torch.empty(0)] * len(answers),
    )

    def look(group: list[int]) -> _Seen:
        batch = out.batch(group, model)
        targets = batch.targets.to(model.device)
        states, reference_states = model.states_under([POLICY], batch), model.states_under([REFERENCE], batch)
        compared = model.compare(states, reference_states, targets, config.temperature)
        return _Seen(
            logprobs=batch.unflatten(compared.scores.logprobs.cpu()),
            reference=batch.unflatten(compared.other.cpu()),
            kl=batch.unflatten(compared.kl.cpu()),
            values=batch.unflatten(run.values(batch, reference_states).cpu()),
            states=list(reference_states.split([len(answers[i]) for i in group])),
            entropy=float(compared.scores.entropy.sum()),
        )

    groups = out.parts(range(len(answers)), config.batch_tokens)
    seen = model.side_by_side.map(look, groups)
    for group, its in zip(groups, seen, strict=True):
        rows, columns = torch.tensor(group)[:, None], torch.arange(its.kl.shape[1])[None, :]
        out.logprobs[rows, columns], out.reference[rows, columns] = its.logprobs, its.reference
        out.kl[rows, columns], out.values[rows, columns] = its.kl, its.values
        for i, states in zip(group, its.states, strict=True):
            out.states[i] = states
    entropy = sum(its.entropy for its in seen)
    for i, rollout in enumerate(rollouts):
        out.behaviour[i, : len(rollout.logprobs)] = torch.tensor(rollout.logprobs)
    out.entropy = entropy / float(out.mask.sum())
    return out


@torch.no_grad()
def kl_to_base(run: PpoRun, experience: Experience, most: int = 16) -> float:
    """Mean KL(policy ‖ bare base) per answer, along the first `most` answers."""
    model = run.model
    batch = experience.batch(range(min(most, len(experience.answers))), model)
    states, base_states = model.states_under([POLICY], batch), model.states_under([], batch)
    return float(model.token_kl(states, base_states, run.config.temperature).sum()) / len(batch.mask)


def describe(experience: Experience, rollouts: Sequence[Rollout]) -> dict[str, float]:
    """What the answers look like, and how well the critic foresaw them."""
    mask = experience.mask
    returns = experience.returns[mask]
    errors = (experience.returns - experience.values)[mask]
    spread = float(returns.var(correction=0))
    return {
        "entropy": experience.entropy,
        "answer_tokens": sum(len(r.token_ids) for r in rollouts) / len(rollouts),
        "missing_end": sum(not r.finished for r in rollouts) / len(rollouts),
        "distinct_answers": len({r.text for r in rollouts}) / len(rollouts),
        "explained_variance": 1 - float(errors.var(correction=0)) / spread if spread > 0 else 0.0,
    }

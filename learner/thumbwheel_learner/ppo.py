"""PPO on LoRA: sample from the candidate, score, estimate advantages, take clipped steps; again.

One base model in memory; policy, frozen reference and critic are adapters and heads on it. Configuration and state:
ppo_state.py; formulas: ppo_estimators.py; every logged metric and the source of every detail: docs/algorithms/ppo.md.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

import hashlib
import itertools
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.labels import Row
from thumbwheel_learner.model import PolicyModel
from thumbwheel_learner.ppo_estimators import (
    gae,
    leave_one_out,
    token_rewards,
    whiten,
)
from thumbwheel_learner.ppo_state import POLICY, REFERENCE, Experience, PpoConfig, PpoReport, PpoRun
from thumbwheel_learner.ppo_update import update
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.reward import RewardScores
from thumbwheel_learner.rollout import Rollout, RolloutEngine

CHECKPOINT = "checkpoint.pt"


class NothingToPractise(LearnerError):
    """No logged prompt is short enough."""


class BrokenRollout(LearnerError):
    """The engine returned something that is not a sampled answer."""


class AnswerScorer(Protocol):
    """What PPO asks of a reward: `reward.RewardModel`, or anything that scores texts."""

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        """Scores of answer texts after prompt ids."""
        ...

    def identity(self) -> str:
        """Equal only for rewards that score alike."""
        ...


def train_ppo(
    model: PolicyModel,
    start: Path | None,
    reward: AnswerScorer,
    prompts: Sequence[Sequence[int]],
    engine: RolloutEngine,
    config: PpoConfig,
    folder: Path,
    *,
    work: Path,
    demonstrations: Sequence[Row] = (),
    progress: Progress = silent,
) -> tuple[Path, PpoReport]:
    """Improve `start` (None: the bare base) on `prompts` (token ids) and write the new adapter to `folder`.

    `work` holds the checkpoint and the candidates that the engine loads; called again with the same arguments after
    a kill, the run goes on from the last whole iteration. Raises `NothingToPractise`, `BrokenRollout`, and whatever
    the engine or `progress` raises.
    """
    started = time.monotonic()
    usable = [list(p) for p in prompts if 0 < len(p) <= config.max_prompt]
    if not usable:
        raise NothingToPractise(f"none of {len(prompts)} logged prompts has at most {config.max_prompt} tokens")
    work.mkdir(parents=True, exist_ok=True)
    run = PpoRun(model, start, config)
    fingerprint = _fingerprint(start, reward, usable, config)
    run.restore(work / CHECKPOINT, fingerprint)
    while run.iteration < config.iterations and run.stopped is None:
        _iterate(run, reward, usable, engine, work, demonstrations)
        run.save(work / CHECKPOINT, fingerprint)
        last = run.history[-1]
        detail = f"iteration {run.iteration}/{config.iterations}, reward {last['reward']:+.2f}, KL {last['kl']:.2f}"
        progress("ppo", run.iteration / config.iterations, detail)
    model.save(POLICY, folder)
    shutil.rmtree(work / "candidates", ignore_errors=True)
    measured = [h for h in run.history if h["kl"] <= config.kl_budget] or run.history
    return folder, PpoReport(
        iterations=run.iteration,
        answers=sum(int(h["answers"]) for h in run.history),
        stopped=run.stopped,
        kl=measured[-1]["kl"],
        kl_base=measured[-1]["kl_base"],
        history=run.history,
        seconds=time.monotonic() - started,
    )


def _fingerprint(start: Path | None, reward: AnswerScorer, prompts: list[list[int]], config: PpoConfig) -> str:
    """What a checkpoint must agree on to be continued."""
    digest = hashlib.sha256(json.dumps([asdict(config), prompts], sort_keys=True).encode())
    if start is not None:
        digest.update((start / "adapter_model.safetensors").read_bytes())
    digest.update(reward.identity().encode())
    return digest.hexdigest()


def _iterate(
    run: PpoRun,
    reward: AnswerScorer,
    prompts: list[list[int]],
    engine: RolloutEngine,
    work: Path,
    demonstrations: Sequence[Row],
) -> None:
    """One iteration: rollouts, scores, advantages, updates. Leaves the run over budget where it was before."""
    config, model = run.config, run.model
    clock = [time.monotonic()]

    # 1. The engine samples from a copy of the policy on disk.
    candidate = model.save(POLICY, work / "candidates" / f"{run.iteration:04d}")
    chosen = draw_prompts(len(prompts), run.iteration, config)
    sampled = engine.sample(
        candidate,
        [prompts[i] for i in chosen],
        n=config.answers_per_prompt,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        seed=config.seed * 100_003 + run.iteration,
    )
    asked = [prompts[i] for i, answers in zip(chosen, sampled, strict=True) for _ in answers]
    rollouts = [r for answers in sampled for r in answers]
    check_rollouts(rollouts, len(chosen) * config.answers_per_prompt)
    clock.append(time.monotonic())

    # 2. Log-probabilities of policy and reference; the distance so far decides whether the run may go on.
    experience = observe(run, asked, rollouts)
    kl = float(experience.kl.sum(dim=1).mean())
    metrics = {"answers": float(len(rollouts)), "kl": kl, "kl_coef": run.controller.coef}
    metrics["kl_base"] = kl_to_base(run, experience)
    if metrics["kl"] > config.kl_budget and run.iteration > 0:
        run.stopped = f"KL {metrics['kl']:.1f} went over the budget of {config.kl_budget:.1f} nats per answer"
        model.load(POLICY, work / "candidates" / f"{run.iteration - 1:04d}")
        run.history.append(run.history[-1] | metrics)
        return

    # 3. Scores on the text, end token or not.
    final, scored = score_answers(run, reward, asked, rollouts)
    clock.append(time.monotonic())

    # 4. Token rewards, values, advantages.
    final = leave_one_out(final, config.answers_per_prompt)
    rewards = token_rewards(final, experience.logprobs - experience.reference, experience.mask, run.controller.coef)
    if config.whiten_rewards:
        rewards = whiten(rewards, experience.mask, shift_mean=False)
    experience.advantages, experience.returns = gae(
        rewards, experience.values, experience.mask, config.gamma, config.lam
    )
    experience.advantages = whiten(experience.advantages, experience.mask, shift_mean=True)

    # 5. Clipped steps, then the coefficient follows the distance.
    metrics |= update(run, experience, demonstrations)
    run.controller.update(metrics["kl"], len(rollouts))
    run.iteration += 1
    clock.append(time.monotonic())
    metrics |= scored | describe(experience, rollouts)
    spans = zip(("rollout_s", "score_s", "update_s"), itertools.pairwise(clock), strict=True)
    metrics |= {name: end - begin for name, (begin, end) in spans}
    run.history.append(metrics)
    _forget_old_candidates(work, run.iteration)


def score_answers(
    run: PpoRun, reward: AnswerScorer, asked: list[list[int]], rollouts: Sequence[Rollout]
) -> tuple[Tensor, dict[str, float]]:
    """[B] mean - pessimism · std, normalised under the reference: the first iteration's answers are its own."""
    config = run.config
    scores = reward.score(asked, [r.text for r in rollouts])
    pessimistic = scores.mean - config.pessimism * scores.std
    if run.iteration == 0:
        run.reward_mean = float(pessimistic.mean())
        run.reward_std = max(float(pessimistic.std(correction=0)), 1e-4)
    finished = torch.tensor([float(r.finished) for r in rollouts])
    normalised = ((pessimistic - run.reward_mean) / run.reward_std).clamp(-config.reward_clip, config.reward_clip)
    final = normalised - config.missing_end_penalty * (1 - finished)
    return final, {
        "reward": float(scores.mean.mean()),
        "reward_pessimistic": float(normalised.mean()),
        "score": float(final.mean()),
        "disagreement": float(scores.std.mean()),
    }


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

    def look(group: list[int]) -> float:
        batch, rows = out.batch(group, model), torch.tensor(group)[:, None]
        columns, targets = torch.arange(batch.mask.shape[1])[None, :], batch.targets.to(model.device)
        states, reference_states = model.states_under([POLICY], batch), model.states_under([REFERENCE], batch)
        scores = model.token_scores(states, targets, config.temperature)
        reference = model.token_scores(reference_states, targets, config.temperature).logprobs
        out.logprobs[rows, columns] = batch.unflatten(scores.logprobs.cpu())
        out.reference[rows, columns] = batch.unflatten(reference.cpu())
        out.kl[rows, columns] = batch.unflatten(model.token_kl(states, reference_states, config.temperature).cpu())
        out.values[rows, columns] = batch.unflatten(run.values(batch, reference_states).cpu())
        for i, answer_states in zip(group, reference_states.split([len(answers[i]) for i in group]), strict=True):
            out.states[i] = answer_states
        return float(scores.entropy.sum())

    entropy = sum(model.side_by_side.map(look, out.parts(range(len(answers)), config.batch_tokens)))
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


def _forget_old_candidates(work: Path, iteration: int) -> None:
    """Keep the candidate that a budget overrun would return to."""
    for old in (work / "candidates").iterdir():
        if old.name.isdigit() and int(old.name) < iteration - 1:
            shutil.rmtree(old)

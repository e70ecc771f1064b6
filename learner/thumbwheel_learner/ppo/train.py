"""PPO on LoRA: sample from the candidate, score, estimate advantages, take clipped steps; again.

One base model in memory; policy, frozen reference and critic are adapters and heads on it. Configuration: config.py;
state: state.py; formulas: estimators.py; every logged metric and the source of every detail: docs/algorithms/ppo.md.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.ppo.checkpoint import Checkpoint, Gathered
from thumbwheel_learner.ppo.config import PpoConfig, PpoReport
from thumbwheel_learner.ppo.credit import at_the_end, attentive, by_attention
from thumbwheel_learner.ppo.diversity import resemblance
from thumbwheel_learner.ppo.estimators import gae, leave_one_out, token_rewards, whiten
from thumbwheel_learner.ppo.experience import check_rollouts, describe, draw_prompts, kl_to_base, observe
from thumbwheel_learner.ppo.rise import went_nowhere
from thumbwheel_learner.ppo.state import POLICY, PpoRun, Updates
from thumbwheel_learner.ppo.tripwire import Tripwire
from thumbwheel_learner.ppo.update import update
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.model import RewardScores
from thumbwheel_learner.rollouts.engine import Rollout, RolloutEngine

FORMAT = 3
"""Of the checkpoint."""


class NothingToPractise(LearnerError):
    """No logged prompt is short enough."""


class AnswerScorer(Protocol):
    """What PPO asks of a reward: `reward.RewardModel`, or anything that scores texts."""

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        """Scores of answer texts after prompt ids."""
        ...

    def identity(self) -> str:
        """Equal only for rewards that score alike."""
        ...


class IterationObserver(Protocol):
    """Looks at a run between two iterations, for figures that PPO itself does not need."""

    def __call__(self, run: PpoRun) -> None:
        """After an iteration, before it is kept: told again of one that a kill came between. Changes nothing."""
        ...


def unobserved(run: PpoRun) -> None:
    """An `IterationObserver` for callers that do not look."""


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
    tripwire: Tripwire | None = None,
    progress: Progress = silent,
    on_iteration: IterationObserver = unobserved,
) -> tuple[Path, PpoReport]:
    """Improve `start` (None: the bare base) on `prompts` (token ids) and write the new adapter to `folder`.

    `work` holds the checkpoint and the candidates that the engine loads; called again with the same arguments after
    a kill, the run goes on after its last minibatch. `tripwire` may stop it; one that gained nothing ends where it
    began. Raises `NothingToPractise`, `NoAttention`, `BrokenRollout`, and whatever the engine, `progress` or
    `on_iteration` raises.
    """
    started = time.monotonic()
    if config.token_credit:
        attentive(reward)
    usable = [list(p) for p in prompts if 0 < len(p) <= config.max_prompt]
    if not usable:
        raise NothingToPractise(f"none of {len(prompts)} logged prompts has at most {config.max_prompt} tokens")
    world = model.world
    world.from_first(lambda: work.mkdir(parents=True, exist_ok=True))
    run = PpoRun(model, start, config)
    fingerprint = world.from_first(lambda: _fingerprint(start, reward, usable, config))
    checkpoint = Checkpoint(work, fingerprint, world)
    checkpoint.restore(run)
    _show(run, tripwire, work)
    while run.iteration < config.iterations and run.stopped is None:
        _iterate(run, reward, usable, engine, demonstrations, checkpoint, progress)
        _show(run, tripwire, work)
        on_iteration(run)
        checkpoint.save(run)
        last = run.history[-1]
        detail = f"iteration {run.iteration}/{config.iterations}, reward {last['reward']:+.2f}, KL {last['kl']:.2f}"
        progress("ppo", run.iteration / config.iterations, detail)
    _settle(run)
    model.save(POLICY, folder)
    world.from_first(lambda: shutil.rmtree(work / "candidates", ignore_errors=True))
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


def _show(run: PpoRun, tripwire: Tripwire | None, work: Path) -> None:
    """Let the tripwire look; where it stops the run, the best policy it has seen is what is left of it."""
    if tripwire is None or run.stopped is not None:
        return
    folder = work / "shown" / f"{run.iteration:04d}"
    run.stopped = tripwire.look(run.iteration, run.config.iterations, lambda: run.model.save(POLICY, folder))
    if run.stopped is not None:
        good = tripwire.good()
        run.model.load(POLICY, good.folder)
        run.history.append(run.history[good.iteration] | {"answers": 0.0, "kept": float(good.iteration)})
    run.model.world.from_first(lambda: shutil.rmtree(work / "shown", ignore_errors=True))


def _settle(run: PpoRun) -> None:
    """What a run that nobody stopped is worth: the average of its policies, or where it began if it went nowhere."""
    if run.stopped is not None:
        return
    run.stopped = run.model.world.from_first(lambda: went_nowhere(run.history, run.config))
    if run.stopped is None:
        run.settle()
    else:
        run.go_back()
        run.history.append(run.history[0] | {"answers": 0.0, "kept": 0.0})


def _fingerprint(start: Path | None, reward: AnswerScorer, prompts: list[list[int]], config: PpoConfig) -> str:
    """What a checkpoint must agree on to be continued."""
    digest = hashlib.sha256(json.dumps([FORMAT, asdict(config), prompts], sort_keys=True).encode())
    if start is not None:
        digest.update((start / "adapter_model.safetensors").read_bytes())
    digest.update(reward.identity().encode())
    return digest.hexdigest()


def _iterate(
    run: PpoRun,
    reward: AnswerScorer,
    prompts: list[list[int]],
    engine: RolloutEngine,
    demonstrations: Sequence[Row],
    checkpoint: Checkpoint,
    progress: Progress,
) -> None:
    """One iteration: gather, clipped steps, then the coefficient follows the distance."""
    gathered = checkpoint.load_experience(run)
    if gathered is None:
        gathered = _gather(run, reward, prompts, engine, checkpoint.folder)
        if gathered is None:
            return
        checkpoint.save_experience(run, gathered)
    experience, metrics = gathered
    began = time.monotonic()

    def after_minibatch(planned: int) -> None:
        checkpoint.save(run)
        done, iterations = run.updates.minibatches, run.config.iterations
        detail = f"iteration {run.iteration + 1}/{iterations}, minibatch {done}/{planned}"
        progress("ppo", (run.iteration + done / planned) / iterations, detail)

    metrics |= update(run, experience, demonstrations, after_minibatch)
    run.controller.update(metrics["kl"], len(experience.answers))
    run.iteration, run.updates = run.iteration + 1, Updates()
    run.average_in()
    run.history.append(metrics | {"update_s": time.monotonic() - began})
    run.model.world.from_first(lambda: _forget_old_candidates(checkpoint.folder, run.iteration))


def _gather(
    run: PpoRun, reward: AnswerScorer, prompts: list[list[int]], engine: RolloutEngine, work: Path
) -> Gathered | None:
    """Rollouts, scores, advantages. None, and the run where it was an iteration ago, if it is over budget."""
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
        return None

    # 3. Scores on the text, end token or not.
    final, scored = score_answers(run, reward, asked, rollouts)
    clock.append(time.monotonic())

    # 4. Token rewards, values, advantages.
    alike = resemblance(experience.answers, final, config.answers_per_prompt)
    final = leave_one_out(final - config.diversity * alike, config.answers_per_prompt)
    credit = at_the_end(experience.mask)
    if config.token_credit:
        credit = by_attention(attentive(reward), asked, experience.answers, experience.mask, config.token_credit)
    kl_terms = experience.logprobs - experience.reference
    rewards = token_rewards(final, kl_terms, experience.mask, run.controller.coef, credit)
    metrics["resemblance"] = float(alike.mean())
    metrics["end_credit"] = float((credit * at_the_end(experience.mask)).sum(1).mean())
    if config.whiten_rewards:
        rewards = whiten(rewards, experience.mask, shift_mean=False)
    experience.advantages, experience.returns = gae(
        rewards, experience.values, experience.mask, config.gamma, config.lam
    )
    experience.advantages = whiten(experience.advantages, experience.mask, shift_mean=True)
    metrics |= scored | describe(experience, rollouts)
    spans = zip(("rollout_s", "score_s"), itertools.pairwise(clock), strict=True)
    return Gathered(experience, metrics | {name: end - begin for name, (begin, end) in spans})


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


def _forget_old_candidates(work: Path, iteration: int) -> None:
    """Keep the candidate that a budget overrun would return to."""
    for old in (work / "candidates").iterdir():
        if old.name.isdigit() and int(old.name) < iteration - 1:
            shutil.rmtree(old)

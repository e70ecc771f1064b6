"""The updates of a PPO iteration: clipped policy steps, the critic's fit, and how the optimiser steps."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.estimators import importance_weights, masked_mean
from thumbwheel_learner.ppo.state import POLICY, Experience, PpoRun
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.sft import answer_loss


def update(
    run: PpoRun, experience: Experience, demonstrations: Sequence[Row], after_minibatch: Callable[[int], None]
) -> dict[str, float]:
    """Epochs of clipped minibatch steps on one iteration's answers (Schulman et al. 2017, arXiv:1707.06347).

    Goes on after the minibatches that `run.updates` counts; `after_minibatch` is told how many there are in all.
    """
    config, done = run.config, run.updates
    generator = torch.Generator().manual_seed(config.seed * 100_003 + run.iteration)
    rate = anneal(run.iteration, config)
    weights = importance_weights(experience.logprobs, experience.behaviour, experience.mask, config.importance_cap)
    planned = draw_minibatches(len(experience.answers), demonstrations, config, generator)
    steps = Steps(run, rate)
    for group, demos in planned[done.minibatches :]:
        if done.is_over:
            break
        steps.take(add_gradients(run, experience, group, weights, demos))
        done.minibatches += 1
        after_minibatch(len(planned))
    steps.check_last(lambda: step_kl_of(run, experience, weights, some_answers(experience, config, generator)))
    seen = done.seen
    if config.critic == "frozen":
        value_loss = fit_frozen_critic(run, experience, generator, rate)
        seen = [stepped | {"value_loss": value_loss} for stepped in seen]
    used_rate = rate * run.rate_scale * run.model.rate(config.learning_rate)
    steps.recover()
    metrics = {k: sum(s[k] for s in seen) / len(seen) for k in seen[0] if k != "ratio_error"}
    mask = experience.mask
    return metrics | {
        "first_ratio_error": seen[0]["ratio_error"],
        "learning_rate": used_rate,
        "minibatches": float(len(seen)),
        "steps_taken_back": float(done.taken_back),
        "importance_mean": float(masked_mean(weights, mask)),
        "importance_capped": float(masked_mean((weights >= config.importance_cap).float(), mask)),
        "engine_gap": float(masked_mean((experience.logprobs - experience.behaviour).abs(), mask)),
    }


def draw_minibatches(
    answers: int, demonstrations: Sequence[Row], config: PpoConfig, generator: torch.Generator
) -> list[tuple[list[int], list[Row]]]:
    """Answers and demonstrations of every minibatch, drawn before the first step: a resumed iteration skips some."""
    planned: list[tuple[list[int], list[Row]]] = []
    for _ in range(config.epochs):
        order = shuffled(answers, config.answers_per_prompt, generator)
        for start in range(0, answers, config.minibatch_answers):
            demos = pick_rows(demonstrations, generator) if config.sft_coef else []
            planned.append((order[start : start + config.minibatch_answers], demos))
    return planned


def shuffled(answers: int, per_prompt: int, generator: torch.Generator) -> list[int]:
    """Indices in a random order of prompts, so that a prompt's answers stay together and it is read once for them."""
    prompts: list[int] = torch.randperm(answers // per_prompt, generator=generator).tolist()
    return [p * per_prompt + n for p in prompts for n in range(per_prompt)]


def some_answers(experience: Experience, config: PpoConfig, generator: torch.Generator) -> list[int]:
    """As many as a minibatch has."""
    return shuffled(len(experience.answers), config.answers_per_prompt, generator)[: config.minibatch_answers]


class Steps:
    """Takes the optimiser's steps of one iteration, and takes back one that leaves the trust region.

    How far a step went is seen when the next minibatch is scored. One that alone went too far says that the learning
    rate is too high for this model: it goes on with a quarter of it, and every iteration without such a step doubles
    what is left. Where several have gone as far together, the answers bear no more of them, and the iteration is over.
    """

    def __init__(self, run: PpoRun, rate: float) -> None:
        self._run = run
        self._rate = rate

    def take(self, measured: dict[str, float]) -> None:
        """One step along the gradients that were added, or the last one back."""
        run, config = self._run, self._run.config
        if self._left(measured["step_kl"]):
            for optimizer in (run.optimizer, run.critic_optimizer):
                optimizer.zero_grad()
            return
        # Gradient clipped; Adam's eps where the original code had it, outside the bias correction.
        norm = nn.utils.clip_grad_norm_(run.model.parameters(POLICY), config.max_grad_norm)
        run.remember()
        optimizers = [run.optimizer, run.critic_optimizer] if config.critic == "adapter" else [run.optimizer]
        for optimizer, base_rate in zip(optimizers, (config.learning_rate, config.critic_learning_rate), strict=False):
            step_like_tensorflow(optimizer, run.model.rate(base_rate) * self._rate * run.rate_scale, config.adam_eps)
        run.updates.seen.append(measured | {"grad_norm": float(norm)})

    def check_last(self, step_kl: Callable[[], float]) -> None:
        """The last step has no minibatch after it that would tell."""
        if not self._run.updates.is_over and self._run.config.target_step_kl is not None:
            self._left(step_kl())

    def recover(self) -> None:
        """After an iteration without a step that went too far."""
        if not self._run.updates.taken_back:
            self._run.rate_scale = min(1.0, 2 * self._run.rate_scale)

    def _left(self, step_kl: float) -> bool:
        """Whether the last step left the trust region; it is taken back then."""
        limit, done = self._run.config.target_step_kl, self._run.updates
        if limit is None or step_kl <= limit or not done.seen:
            done.kl = step_kl
            return False
        self._run.take_back()
        done.taken_back += 1
        if done.kl <= limit / 2:
            self._run.rate_scale /= 4
        else:
            done.is_over = True
        return True


def add_gradients(
    run: PpoRun, experience: Experience, group: list[int], weights: Tensor, demonstrations: Sequence[Row]
) -> dict[str, float]:
    """The gradient of a minibatch, prompt by prompt, those that are far longer than usual shortened.

    `weights` [B, A] are those of the whole iteration, like the experience.
    """
    model, config = run.model, run.config
    trained = [p for name in run.adapters() for p in model.parameters(name)]
    trained += list(run.critic.parameters()) if config.critic == "adapter" else []
    total = int(experience.mask[group].sum())
    parts = experience.by_prompt(group)
    shares = [int(experience.mask[part].sum()) / total for part in parts]

    def loss_of(n: int) -> tuple[Tensor, dict[str, float]]:
        loss, measured = minibatch_loss(run, experience, parts[n], weights)
        return loss * shares[n], measured

    bound = None if config.prompt_clip is None else partial(run.bound, quantile=config.prompt_clip)
    measured = model.side_by_side.add_gradients(loss_of, range(len(parts)), trained, bound)
    figures = {k: sum(s * m[k] for s, m in zip(shares, measured, strict=True)) for k in measured[0]}
    figures["ratio_error"] = max(m["ratio_error"] for m in measured)
    if demonstrations:
        with model.using(POLICY):
            (config.sft_coef * answer_loss(model, demonstrations)).backward()
    return figures


def step_kl_of(run: PpoRun, experience: Experience, weights: Tensor, group: list[int]) -> float:
    """How far the policy is from the one that sampled, on some answers; no gradients."""
    parts = experience.parts(group, run.config.step_tokens)
    total = int(experience.mask[group].sum())
    with torch.no_grad():
        told = run.model.side_by_side.map(lambda p: minibatch_loss(run, experience, p, weights)[1]["step_kl"], parts)
    return sum(kl * int(experience.mask[part].sum()) / total for kl, part in zip(told, parts, strict=True))


def minibatch_loss(
    run: PpoRun, experience: Experience, part: list[int], weights: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Mean loss per answer token of some answers, and what there is to say of them."""
    model, config = run.model, run.config
    batch = experience.batch(part, model)
    width = batch.mask.shape[1]
    mask, advantages = batch.mask, experience.advantages[part, :width]

    # 1. Probability ratio to the policy that sampled, as the trainer itself computed it.
    with model.using(POLICY):
        logprobs = batch.unflatten(model.score_answers(batch, config.temperature).logprobs.cpu())
    log_ratio = (logprobs - experience.logprobs[part, :width]) * mask
    ratio = log_ratio.exp()

    # 2. Pessimistic of clipped and unclipped, each token weighted for what the engine really sampled from.
    unclipped, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - config.clip, 1 + config.clip)
    policy_loss = masked_mean(torch.max(unclipped, clipped) * weights[part, :width], mask)
    loss, value_loss = policy_loss, 0.0

    # 3. A critic with an adapter of its own learns in the same step.
    if config.critic == "adapter":
        flat = run.values(batch, torch.empty(0))
        of_values = value_loss_of(batch.unflatten(flat.cpu()), experience, part, config.value_clip)
        loss, value_loss = loss + of_values, of_values.item()

    with torch.no_grad():
        return loss, {
            "policy_loss": policy_loss.item(),
            "value_loss": value_loss,
            "clip_share": float(masked_mean((clipped > unclipped).float(), mask)),
            "step_kl": float(masked_mean(0.5 * log_ratio.square(), mask)),
            "ratio_error": float(((ratio - 1).abs() * mask).max()),
        }


def value_loss_of(values: Tensor, experience: Experience, group: Sequence[int], clip: float) -> Tensor:
    """Half the squared error, the worse of clipped and unclipped (value clipping as in the PPO code of OpenAI)."""
    width = values.shape[1]
    old, returns = experience.values[group, :width], experience.returns[group, :width]
    near = torch.min(torch.max(values, old - clip), old + clip)
    worse = torch.max((values - returns).square(), (near - returns).square())
    return 0.5 * masked_mean(worse, experience.mask[group, :width])


def fit_frozen_critic(run: PpoRun, experience: Experience, generator: torch.Generator, rate: float) -> float:
    """Passes of the value head over states that are already there; returns the last pass's loss."""
    config, mean = run.config, 0.0
    critic_rate = run.model.rate(config.critic_learning_rate) * rate
    for _ in range(config.critic_epochs):
        order: list[int] = torch.randperm(len(experience.answers), generator=generator).tolist()
        groups = [order[i : i + config.minibatch_answers] for i in range(0, len(order), config.minibatch_answers)]
        mean = 0.0
        for group in groups:
            width = max(len(experience.answers[i]) for i in group)
            flat = run.critic(torch.cat([experience.states[i] for i in group])).cpu()
            values = torch.zeros(len(group), width).masked_scatter(experience.mask[group, :width], flat)
            loss = value_loss_of(values, experience, group, config.value_clip)
            loss.backward()
            step_like_tensorflow(run.critic_optimizer, critic_rate, config.adam_eps)
            mean += loss.item() / len(groups)
    return mean


def step_like_tensorflow(optimizer: torch.optim.Optimizer, rate: float, eps: float) -> None:
    """Adam with eps added to the uncorrected second moment, as TensorFlow does: the first steps are gentler.

    PyTorch adds eps after the bias correction; dividing it by sqrt(1 - beta2^t) makes the two equal
    (Huang et al. 2024, arXiv:2403.17031, section on Adam's epsilon).
    """
    for group in optimizer.param_groups:
        state = optimizer.state.get(group["params"][0], {})
        t = int(state["step"]) + 1 if "step" in state else 1
        group["lr"], group["eps"] = rate, eps / math.sqrt(1 - group["betas"][1] ** t)
    optimizer.step()
    optimizer.zero_grad()


def anneal(iteration: int, config: PpoConfig) -> float:
    """Share of the learning rate: 1 at first, `final_learning_rate` in the last iteration."""
    done = iteration / max(1, config.iterations - 1)
    return 1 - done * (1 - config.final_learning_rate)


def pick_rows(rows: Sequence[Row], generator: torch.Generator, most: int = 8) -> list[Row]:
    """A few demonstrations for one minibatch."""
    order: list[int] = torch.randperm(len(rows), generator=generator).tolist()
    return [rows[i] for i in order[:most]]

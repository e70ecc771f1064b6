"""One arm of one seed: a PPO run that is measured along its way on held-out prompts, by the reward and by the truth."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct

from thumbwheel_demo.experiments.cells import RESULT, finished
from thumbwheel_demo.experiments.chats import prompt_ids
from thumbwheel_demo.experiments.distance import kl_between
from thumbwheel_demo.experiments.overoptimisation.desk import BATCH, Desk, OneMember, Plan
from thumbwheel_demo.report.record import write_json
from thumbwheel_demo.satisfaction import judge
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.state import POLICY, PpoRun
from thumbwheel_learner.ppo.train import AnswerScorer, train_ppo
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.rollouts.sampler import TransformersSampler

POINTS = "points.json"
MEASURE_SEED = 11
"""Every measurement draws with the same random numbers, so that what differs between two is the policy."""


@dataclass(frozen=True)
class Arm:
    """What a run maximises."""

    ensemble: bool
    kl: bool


ARMS: Mapping[str, Arm] = {
    "single": Arm(ensemble=False, kl=False),
    "ensemble": Arm(ensemble=True, kl=False),
    "single, KL": Arm(ensemble=False, kl=True),
    "ensemble, KL": Arm(ensemble=True, kl=True),
}


class Point(Struct, frozen=True, kw_only=True):
    """The policy after some iterations, on the held-out prompts."""

    iteration: int
    kl: float
    """To the run's start, nats per answer; exact over the vocabulary at each token of the sampled answers."""
    gold: dict[str, float]
    """By prompt, 1 where the customer is satisfied."""
    graded: float
    """Mean of the hidden score from 0 to 1."""
    proxy: float
    """Mean score that this run maximises, in standard deviations of the start's answers."""
    disagreement: float
    """Mean standard deviation over all members, whatever the run maximises."""
    tokens: float
    """Mean length of an answer."""

    @property
    def satisfied(self) -> float:
        """Gold: the share of satisfied customers."""
        return sum(self.gold.values()) / len(self.gold)


class Cell(Struct, frozen=True, kw_only=True):
    """One arm of one seed."""

    seed: int
    arm: str
    plan: Plan
    points: list[Point]
    """Of the policies on the way."""
    kept: Point
    """Of the policy that the run wrote: the average of the last ones, or of an earlier one where it was stopped."""
    auc: float | None
    """Of the ensemble, on the newest thumbs, which it was not taught; None where these are all alike."""
    stopped: str | None
    """Why the run ended early."""


def ppo_config(plan: Plan, arm: Arm, seed: int) -> PpoConfig:
    """The learner's defaults, smaller iterations and more of them, and nothing to be had but the reward; without KL
    neither term nor budget."""
    free: dict[str, Any] = {} if arm.kl else {"kl_coef": 0.0, "kl_budget": float("inf")}
    return PpoConfig(
        iterations=plan.iterations,
        prompts_per_iteration=plan.prompts_per_iteration,
        answers_per_prompt=plan.answers_per_prompt,
        epochs=plan.epochs,
        minibatch_answers=plan.minibatch_answers,
        learning_rate=plan.learning_rate,
        final_learning_rate=plan.final_learning_rate,
        kl_target=plan.kl_target,
        diversity=0.0,
        max_tokens=plan.max_tokens,
        pessimism=plan.pessimism,
        seed=seed,
        **free,
    )


class Gauge:
    """An `IterationObserver` that measures a run and keeps what it found, for a call after a kill too."""

    def __init__(self, model: PolicyModel, desk: Desk, arm: Arm, plan: Plan, folder: Path) -> None:
        self._model, self._desk, self._arm, self._plan, self._folder = model, desk, arm, plan, folder
        self._asked = [prompt_ids(model, s) for s in desk.held_out]
        self._scale: tuple[float, float] | None = None
        self.points = finished(folder / POINTS, list[Point]) or []

    def start(self) -> None:
        """Measure the policy that all arms start from, which sets the scale of the proxy; always the first call."""
        self.keep(self.point(self._said(None), 0.0, 0))

    def __call__(self, run: PpoRun) -> None:
        """Measure every so many iterations and at the end."""
        over = run.stopped is not None or run.iteration == run.config.iterations
        if over or run.iteration % self._plan.every == 0:
            self.keep(self.measured(self._model.save(POLICY, self._folder / "measured"), run.iteration))

    def measured(self, adapter: Path, iteration: int) -> Point:
        """A policy that the run has written."""
        said = self._said(adapter)
        kl = kl_between(self._model, adapter, None, self._asked, [r.token_ids for r in said])
        return self.point(said, kl, iteration)

    def keep(self, point: Point) -> None:
        """Add a point, in the place of one of the same iteration."""
        self.points = [p for p in self.points if p.iteration != point.iteration] + [point]
        write_json(self._folder / POINTS, self.points)

    def _said(self, adapter: Path | None) -> list[Rollout]:
        sampler = TransformersSampler(self._model, batch_size=BATCH)
        limit = self._plan.max_tokens
        sampled = sampler.sample(adapter, self._asked, n=1, max_tokens=limit, temperature=1.0, seed=MEASURE_SEED)
        return [row[0] for row in sampled]

    def point(self, said: Sequence[Rollout], kl: float, iteration: int) -> Point:
        """What is made of answers to the held-out prompts."""
        texts = [r.text for r in said]
        scores = self._desk.reward.score(self._asked, texts)
        own = scores.mean - self._plan.pessimism * scores.std if self._arm.ensemble else scores.members[:, 0]
        if self._scale is None:
            self._scale = (float(own.mean()), max(float(own.std(correction=0)), 1e-4))
        mean, deviation = self._scale
        verdicts = [judge(s, text) for s, text in zip(self._desk.held_out, texts, strict=True)]
        return Point(
            iteration=iteration,
            kl=kl,
            gold={s.id: float(v.satisfied) for s, v in zip(self._desk.held_out, verdicts, strict=True)},
            graded=sum(v.score for v in verdicts) / len(verdicts),
            proxy=(float(own.mean()) - mean) / deviation,
            disagreement=float(scores.std.mean()),
            tokens=sum(len(r.token_ids) for r in said) / len(said),
        )


def run_arm(
    model: PolicyModel, desk: Desk, plan: Plan, seed: int, name: str, folder: Path, say: Callable[[str], None]
) -> Cell:
    """One arm; read where an earlier call finished it, gone on with where one was interrupted."""
    kept = finished(folder / RESULT, Cell)
    if kept is not None:
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    arm = ARMS[name]
    reward: AnswerScorer = desk.reward if arm.ensemble else OneMember(desk.reward, 0)
    gauge, config = Gauge(model, desk, arm, plan, folder), ppo_config(plan, arm, seed)
    gauge.start()

    def progress(stage: str, share: float, detail: str) -> None:
        if "minibatch" not in detail:
            say(f"seed {seed}, {name}: {stage} {share:.0%}, {detail}, gold {gauge.points[-1].satisfied:.1%}")

    adapter, report = train_ppo(
        model,
        None,
        reward,
        desk.practised,
        TransformersSampler(model, batch_size=BATCH),
        config,
        folder / "adapter",
        work=folder / "work",
        progress=progress,
        on_iteration=gauge,
    )
    cell = Cell(
        seed=seed,
        arm=name,
        plan=plan,
        points=sorted(gauge.points, key=lambda p: p.iteration),
        kept=gauge.measured(adapter, report.iterations),
        auc=desk.auc,
        stopped=report.stopped,
    )
    write_json(folder / RESULT, cell)
    shutil.rmtree(folder / "work", ignore_errors=True)
    return cell

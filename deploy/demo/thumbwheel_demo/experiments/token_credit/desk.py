"""One seed of the simulated desk: a reward model from its people's votes, PPO under it, and who is satisfied then."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import Struct

from thumbwheel_demo.corpus import Scenario, prompts
from thumbwheel_demo.experiments.cells import RESULT, finished
from thumbwheel_demo.experiments.chats import prompt_ids, snapshot_of
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_demo.report.record import write_json
from thumbwheel_demo.satisfaction import judge
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.train import train_ppo
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.model import DESCRIPTION, RewardModel, load_reward
from thumbwheel_learner.reward.training import train_reward
from thumbwheel_learner.rollouts.sampler import TransformersSampler

BATCH = 256
"""Answers sampled side by side."""


@dataclass(frozen=True)
class DeskOptions:
    """What decides a cell, beside seed and share."""

    chats: int = 1200
    """Of people who vote and correct before PPO."""
    iterations: int = 16
    prompts: int = 250
    """Held-out, for the hidden satisfaction."""
    answers: int = 2
    """To each of them."""


class Cell(Struct, frozen=True, kw_only=True):
    """One PPO run."""

    asked: dict[str, Any]
    """What decided it; cells of other options are not counted."""
    satisfied: dict[str, float]
    """Held-out prompt -> share of its answers that satisfy."""
    reward: float
    """Of the last iteration's answers, as the reward model sees them."""
    kl: float
    seconds: float


def run_cell(model: PolicyModel, seed: int, share: float, options: DeskOptions, folder: Path) -> Cell:
    """PPO with this share of the score spread; read where an earlier call finished it."""
    own = folder / f"seed-{seed}" / f"credit-{share:g}"
    asked: dict[str, Any] = {"seed": seed, "share": share, **asdict(options)}
    kept = finished(own / RESULT, Cell)
    if kept is not None and kept.asked == asked:
        return kept
    scenarios = prompts("live", options.chats, seed)
    reward = _reward(model, seed, scenarios, folder / f"seed-{seed}" / f"reward-{options.chats}")
    config = replace(PpoConfig(seed=seed, token_credit=share, answers_per_label=0), iterations=options.iterations)
    asked_ids = [prompt_ids(model, s) for s in scenarios]
    sampler = TransformersSampler(model, batch_size=BATCH)
    adapter, report = train_ppo(model, None, reward, asked_ids, sampler, config, own / "adapter", work=own / "work")
    last = report.history[-1]
    cell = Cell(
        asked=asked,
        satisfied=satisfied(model, adapter, seed, options),
        reward=last["reward"],
        kl=last["kl"],
        seconds=report.seconds,
    )
    write_json(own / RESULT, cell)
    return cell


def satisfied(model: PolicyModel, adapter: Path | None, seed: int, options: DeskOptions) -> dict[str, float]:
    """Held-out prompt -> share of its sampled answers with which the customer is content."""
    scenarios = prompts("heldout", options.prompts, 1)
    said = TransformersSampler(model, batch_size=BATCH).sample(
        adapter,
        [prompt_ids(model, s) for s in scenarios],
        n=options.answers,
        max_tokens=PpoConfig.max_tokens,
        temperature=1.0,
        seed=seed,
    )
    return {
        f"{n}-{s.id}": sum(judge(s, a.text).satisfied for a in answers) / len(answers)
        for n, (s, answers) in enumerate(zip(scenarios, said, strict=True))
    }


def _reward(model: PolicyModel, seed: int, scenarios: Sequence[Scenario], folder: Path) -> RewardModel:
    """From people's thumbs and agents' corrections on the base's answers; read where an earlier cell trained it."""
    if (folder / DESCRIPTION).is_file():
        return load_reward(model, folder)
    asked = [prompt_ids(model, s) for s in scenarios]
    sampled = TransformersSampler(model, batch_size=BATCH).sample(
        None, asked, n=1, max_tokens=PpoConfig.max_tokens, temperature=1.0, seed=seed
    )
    people = PeopleSettings(seed=seed)
    snapshot = snapshot_of(scenarios, [row[0] for row in sampled], asked, people)
    return train_reward(model, snapshot, RewardConfig(seed=seed), folder)[0]

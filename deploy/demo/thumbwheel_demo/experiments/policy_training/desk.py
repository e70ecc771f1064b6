"""One seed's desk: what people said about the demo policy, and what SFT and the reward model make of it."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from thumbwheel_demo.corpus import Scenario, prompts
from thumbwheel_demo.experiments.cells import finished
from thumbwheel_demo.experiments.chats import prompt_ids, snapshot_of
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_demo.policy import weights_dir
from thumbwheel_demo.report.record import write_json
from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.reward.model import RewardModel, load_reward
from thumbwheel_learner.reward.training import train_reward
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.rollouts.sampler import TransformersSampler
from thumbwheel_learner.runs.plan import Recipe, recipe_of
from thumbwheel_learner.runs.settings import Training
from thumbwheel_learner.sft import train_sft

SNAPSHOT, PREPARED, SFT, REWARD = "snapshot.json", "prepared.json", "sft/adapter", "reward"
Measured = Literal["heldout", "live"]
MEASURED: Mapping[Measured, int] = {"heldout": 1, "live": 20_014}
"""Seed of the prompts on which arms are measured, the same for every seed and arm: in words that nobody used before,
where the bar is; or new ones like those that people chat about and PPO practises on."""
BATCH = 256
"""Answers sampled side by side."""


@dataclass(frozen=True)
class DeskOptions:
    """What decides a desk and its measurement, beside its seed."""

    chats: int = 1500
    """Of the bare policy, before anything is trained."""
    heldout: int = 390
    """Prompts on which every arm is measured."""
    answers: int = 2
    """Measured per held-out prompt and arm; of SFT `best_of` times as many."""
    best_of: int = 4
    """Answers among which the best-of-n arm chooses, for each of its answers."""
    temperature: float = 0.7
    """At which people are answered and every arm is measured, as one deploys such a policy: at 1 most wrong answers are
    accidents of sampling. PPO practises at its own."""


class Prepared(Struct, frozen=True, kw_only=True):
    """What every arm of a seed shares, in short."""

    settings: dict[str, Any]
    thumbs: int
    up: int
    corrections: int
    sft: dict[str, Any]
    reward: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Desk:
    """What every arm of a seed starts from."""

    model: PolicyModel
    recipe: Recipe
    snapshot: Snapshot
    reward: RewardModel
    sft: Path
    prepared: Prepared


def open_desk(seed: int, options: DeskOptions, folder: Path) -> Desk:
    """Read the desk from `folder`, or let people chat, vote and correct, and train SFT and the reward model on it."""
    model, recipe = load_policy(weights_dir(), seed=seed), recipe_of(Training(seed=seed))
    people = PeopleSettings(seed=seed)
    heard = {"chats": options.chats, "temperature": options.temperature}
    settings = {"seed": seed, **heard, "people": asdict(people), "recipe": asdict(recipe)}
    settings = msgspec.json.decode(msgspec.json.encode(settings))
    kept = finished(folder / PREPARED, Prepared)
    if kept is not None and kept.settings == settings:
        snapshot = msgspec.json.decode((folder / SNAPSHOT).read_bytes(), type=Snapshot)
        return Desk(model, recipe, snapshot, load_reward(model, folder / REWARD), folder / SFT, kept)
    started = time.monotonic()
    snapshot = hear_people(model, prompts("live", options.chats, seed), people, options.temperature)
    write_json(folder / SNAPSHOT, snapshot)
    reward, of_reward = train_reward(model, snapshot, recipe.reward, folder / REWARD)
    _, of_sft = train_sft(model, None, snapshot, recipe.sft, folder / SFT)
    prepared = Prepared(
        settings=settings,
        thumbs=len(snapshot.judged),
        up=sum(j.value == 1.0 for j in snapshot.judged),
        corrections=len(snapshot.pairs),
        sft=of_sft.as_dict(),
        reward=msgspec.to_builtins(of_reward.as_dict()),
        seconds=time.monotonic() - started,
    )
    write_json(folder / PREPARED, prepared)
    return Desk(model, recipe, snapshot, reward, folder / SFT, prepared)


def hear_people(model: PolicyModel, scenarios: list[Scenario], people: PeopleSettings, temperature: float) -> Snapshot:
    """The chats with the bare policy, with what people thought of them, as the learner would have frozen them."""
    asked = [prompt_ids(model, s) for s in scenarios]
    said = [row[0] for row in sample(model, None, asked, 1, people.max_tokens, people.seed, temperature)]
    return snapshot_of(scenarios, said, asked, people)


def sample(
    model: PolicyModel,
    adapter: Path | None,
    asked: list[list[int]],
    n: int,
    max_tokens: int,
    seed: int,
    temperature: float,
) -> list[list[Rollout]]:
    """`n` answers per prompt, as customers get them."""
    sampler = TransformersSampler(model, batch_size=BATCH)
    return sampler.sample(adapter, asked, n=n, max_tokens=max_tokens, temperature=temperature, seed=seed)

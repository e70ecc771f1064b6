"""Answers to vote on: the demo policy's, and those of a policy that has moved on, sampled once for every seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from thumbwheel_demo.corpus.model import Scenario
from thumbwheel_demo.corpus.prompts import prompts
from thumbwheel_demo.experiments.cells import finished
from thumbwheel_demo.experiments.chats import prompt_ids, snapshot_of
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_demo.report.record import write_json
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.rollouts.sampler import TransformersSampler
from thumbwheel_learner.sft import SftConfig, train_sft

TEXTS = "answers.json"
BATCH = 256
"""Answers sampled side by side."""
MAX_TOKENS = 64


@dataclass(frozen=True)
class Amounts:
    """How much there is to vote on."""

    chats: int = 6400
    corrected: int = 2000
    """Of the chats, those whose corrections teach the policy that moves on."""
    practice: int = 150
    """Prompts whose answers by the moved policy nobody votes on: what the meta step sees of the shift."""
    practice_answers: int = 4
    moved: int = 500
    """Prompts whose answers by the moved policy, two each, rewards are measured on."""
    moved_answers: int = 2


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """Texts, in the order of the scenarios of their kind."""

    amounts: Amounts
    chats: list[str]
    practice: list[list[str]]
    moved: list[list[str]]


def scenarios_of(amounts: Amounts) -> dict[str, list[Scenario]]:
    """The conversations that the answers belong to; no kind shares one with another."""
    return {
        "chats": prompts("live", amounts.chats, 11),
        "practice": prompts("live", amounts.practice, 12),
        "moved": prompts("live", amounts.moved, 13),
    }


def answers_in(folder: Path, amounts: Amounts, model: PolicyModel, say: Callable[[str], None]) -> Answers:
    """Read the answers from `folder`, or sample them if no earlier call has sampled just these.

    The moved policy is the demo policy after SFT on corrections of its own bad answers, the wheel's first step.
    """
    kept = finished(folder / TEXTS, Answers)
    if kept is not None and kept.amounts == amounts:
        return kept
    scenarios = scenarios_of(amounts)
    asked = {kind: [prompt_ids(model, s) for s in some] for kind, some in scenarios.items()}
    say(f"sampling {amounts.chats} answers of the demo policy")
    chats = [texts[0] for texts in _sample(model, None, asked["chats"], 1, 1)]
    first = slice(amounts.corrected)
    corrected = snapshot_of(scenarios["chats"][first], rollouts(chats[first]), asked["chats"][first], PeopleSettings())
    adapter, _ = train_sft(model, None, corrected, SftConfig(), folder / "moved")
    say(f"sampling answers of the policy after {len(corrected.demos)} corrections")
    made = Answers(
        amounts=amounts,
        chats=chats,
        practice=_sample(model, adapter, asked["practice"], amounts.practice_answers, 2),
        moved=_sample(model, adapter, asked["moved"], amounts.moved_answers, 3),
    )
    write_json(folder / TEXTS, made)
    return made


def _sample(
    model: PolicyModel, adapter: Path | None, asked: Sequence[Sequence[int]], n: int, seed: int
) -> list[list[str]]:
    sampler = TransformersSampler(model, batch_size=BATCH)
    said = sampler.sample(adapter, asked, n=n, max_tokens=MAX_TOKENS, temperature=1.0, seed=seed)
    return [[one.text for one in row] for row in said]


def rollouts(texts: Sequence[str]) -> list[Rollout]:
    """Texts in the shape that `snapshot_of` takes."""
    return [Rollout([], [], True, text) for text in texts]

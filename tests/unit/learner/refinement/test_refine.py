from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from tests.learner_models import make_base, snapshot
from tests.unit.learner.refinement.test_requests import critique, rewritten
from torch import Tensor

from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.refinement.refine import (
    Refined,
    RefinementConfig,
    demonstrations_of,
    distinct,
    pairs_of,
    read_refined,
    refine,
)
from thumbwheel_learner.refinement.requests import requests_of
from thumbwheel_learner.reward.model import RewardScores
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.rollouts.sampler import TransformersSampler
from thumbwheel_learner.sft import NoDemonstrations, SftConfig

SFT = SftConfig(lora=LoraConfig(8, 32), epochs=60, learning_rate=2e-2)
CONFIG = RefinementConfig(on=True, sft=SFT, min_taught=4, max_tokens=8, answers=6, temperature=0.5)
WORDS = ("late", "good", "bad", "now", "my", "the")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base"), scale=1.0))


def lessons() -> Snapshot:
    """Who is told `rude` should have said sorry, who is told `late` thanks; two answers wait for somebody."""
    better = ("sorry sorry", "thanks thanks")
    pairs = [rewritten(n, f"where is {w}", better[n % 2], "no") for n, w in enumerate(WORDS)]
    critiques = [critique(n, f"where is {w}", "no", ("rude", "late")[n % 2]) for n, w in enumerate(WORDS)]
    waiting = [critique(10, "is my order now", "no", "rude"), critique(11, "is my order good", "no", "late")]
    return replace(snapshot(pairs=pairs), critiques=[*critiques, *waiting])


class Likes:
    """Two members that count a word and agree, or not at all."""

    def __init__(self, word: str, spread: float = 0.0) -> None:
        self.word, self.spread = word, spread

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        count = torch.tensor([float(text.split().count(self.word)) for text in answers])
        members = torch.stack([count * (1 + self.spread), count * (1 - self.spread)], dim=1)
        spread: Tensor = members.std(dim=1, correction=0)
        return RewardScores(members.mean(dim=1), spread, members)


def test_the_step_does_what_the_critique_says_and_its_answers_can_be_read_again(
    model: PolicyModel, tmp_path: Path
) -> None:
    found, figures = refine(model, None, lessons(), TransformersSampler(model), CONFIG, tmp_path)
    assert (figures["taught"], figures["asked"]) == (6, 2)
    said = {one.request.critique: " ".join(one.answers).split() for one in found}
    assert said["rude"].count("sorry") > said["rude"].count("thanks")
    assert said["late"].count("thanks") > said["late"].count("sorry")
    assert read_refined(tmp_path) == found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (replace(lessons(), pairs=lessons().pairs[:3]), "3 corrections teach the refinement step, it takes 4"),
        (replace(lessons(), critiques=[]), "no critique without a correction"),
    ],
)
def test_without_lessons_or_critiques_it_says_what_is_missing(
    model: PolicyModel, tmp_path: Path, given: Snapshot, words: str
) -> None:
    with pytest.raises(NoDemonstrations, match=words):
        refine(model, None, given, TransformersSampler(model), CONFIG, tmp_path)


def test_a_step_that_learned_nothing_is_not_asked(model: PolicyModel, tmp_path: Path) -> None:
    config = RefinementConfig(
        on=True, sft=SftConfig(epochs=1, learning_rate=0.0, held_out=0.5, min_held_out=2), min_taught=4
    )
    with pytest.raises(NoDemonstrations, match="learned nothing"):
        refine(model, None, lessons(), TransformersSampler(model), config, tmp_path)


def test_an_answer_counts_once_if_it_ended_and_says_something_else() -> None:
    request = requests_of(lessons())[1][0]
    texts = [("no", True), ("sorry", True), ("sorry ", True), ("sorry but", False), ("", True), ("thanks", True)]
    assert distinct(request, [Rollout([1], [0.0], ended, text) for text, ended in texts]) == ["sorry", "thanks"]


def test_pairs_put_the_new_answer_over_the_criticised_one_and_weigh_less_than_peoples(model: PolicyModel) -> None:
    [request, _] = requests_of(lessons())[1]
    [item] = pairs_of([Refined(request=request, answers=["sorry"])], model.tokens, CONFIG, 64)
    assert [model.tokens.decode(row.answer) for row in item.rows] == ["sorry", "no"]
    assert (item.value, item.weight, item.user) == (1.0, CONFIG.weight, "refiner:ann")


@pytest.mark.parametrize(("scorer", "learned"), [(Likes("sorry"), ["sorry sorry"]), (Likes("sorry", 2.0), [])])
def test_sft_learns_the_best_answer_where_the_members_agree_that_it_is_better(
    model: PolicyModel, scorer: Likes, learned: list[str]
) -> None:
    rude, late = requests_of(lessons())[1]
    refined = [
        Refined(request=rude, answers=["sorry", "sorry sorry", "thanks"]),
        Refined(request=late, answers=["thanks"]),
    ]
    rows = demonstrations_of(refined, scorer, model.tokens, CONFIG, 64)
    assert [model.tokens.decode(row.answer) for row in rows] == learned

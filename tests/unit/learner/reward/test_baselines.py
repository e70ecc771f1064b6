import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.learner_models import pair

from thumbwheel_learner.dataset.examples import Messages, Pair
from thumbwheel_learner.reward.baselines import evaluate_pairs
from thumbwheel_learner.reward.model import RewardScores


class Oracle:
    """Scores by whether the good word is there."""

    temperature = 1.0

    def score_messages(self, conversations: Sequence[Messages], answers: Sequence[str]) -> RewardScores:
        mean = torch.tensor([4.0 * ("splendid" in a) for a in answers])
        return RewardScores(mean, torch.zeros_like(mean), mean[:, None])


def word_pairs(count: int = 80) -> list[Pair]:
    """The chosen answer has a good word, and is the longer one in three of four."""
    rng = np.random.default_rng(0)
    pairs = []
    for n in range(count):
        filler = ["this", "that", "these", "those"][n % 4]
        good, bad = f"a splendid {filler} answer", f"an awful {filler} answer"
        long_good = rng.random() < 0.75
        pairs.append(pair(n, f"question {n}", good + " indeed" * 3 * long_good, bad + " indeed" * 3 * (not long_good)))
    return pairs


def test_every_model_is_measured_on_the_same_pairs() -> None:
    pairs = [*word_pairs(), pair(999, "a tie", "x", "y", tie=True)]
    out = evaluate_pairs(Oracle(), pairs)
    models = out["models"]
    assert (out["pairs"], out["ties"]) == (80, 1)
    assert list(models) == ["reward_model", "longer_wins", "shorter_wins", "bag_of_bigrams"]
    assert models["reward_model"]["accuracy"]["mean"] == 1.0
    assert models["reward_model"]["auc"]["mean"] == 1.0
    assert models["bag_of_bigrams"]["accuracy"]["mean"] > 0.95
    longer, shorter = (models[m]["accuracy"]["mean"] for m in ("longer_wins", "shorter_wins"))
    assert longer == pytest.approx(0.75, abs=0.12)
    assert longer + shorter == pytest.approx(1.0)
    for figures in models.values():
        for figure in figures.values():
            assert 0 <= figure["low"] <= figure["mean"] <= figure["high"] <= 1
    json.dumps(out, allow_nan=False)


def test_the_order_in_which_a_pair_is_shown_gives_nothing_away() -> None:
    pairs = word_pairs()
    swapped = [pair(n, f"question {n}", p.rejected, p.chosen) for n, p in enumerate(pairs)]
    before, after = (evaluate_pairs(Oracle(), p)["models"] for p in (pairs, swapped))
    assert after["reward_model"]["accuracy"]["mean"] == pytest.approx(1 - before["reward_model"]["accuracy"]["mean"])
    assert after["bag_of_bigrams"]["accuracy"]["mean"] > 0.95


def test_a_coin_is_no_better_than_a_coin() -> None:
    rng = np.random.default_rng(1)
    vocabulary = "red green blue fast slow warm cold big small".split()
    pairs = [
        pair(n, f"question {n}", " ".join(rng.choice(vocabulary, 6)), " ".join(rng.choice(vocabulary, 6)))
        for n in range(150)
    ]
    bigrams = evaluate_pairs(None, pairs)["models"]["bag_of_bigrams"]
    assert bigrams["accuracy"]["low"] < 0.5 < bigrams["accuracy"]["high"]


def test_too_few_pairs_leave_out_what_would_have_to_be_fitted() -> None:
    models = evaluate_pairs(Oracle(), word_pairs(6))["models"]
    assert "bag_of_bigrams" not in models
    assert models["longer_wins"]["ece"] is None
    assert evaluate_pairs(Oracle(), [])["models"] == {}


def test_equal_scores_count_half() -> None:
    class Indifferent(Oracle):
        def score_messages(self, conversations: Sequence[Messages], answers: Sequence[str]) -> RewardScores:
            zeros = torch.zeros(len(answers))
            return RewardScores(zeros, zeros, zeros[:, None])

    figures = evaluate_pairs(Indifferent(), word_pairs())["models"]["reward_model"]
    assert figures["accuracy"]["mean"] == 0.5
    assert figures["auc"]["mean"] == 0.5
    assert figures["ece"]["mean"] == 0.0

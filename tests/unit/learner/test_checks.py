"""What votes say of a judge: how often it is right, and what its scores are worth."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.learner_models import make_base, pair, snapshot, thumb

from thumbwheel_learner.checks import Checks, check, preferred, quality
from thumbwheel_learner.labels import items_of
from thumbwheel_learner.measures import Array
from thumbwheel_learner.model import PolicyModel, load_policy
from thumbwheel_learner.reward import RewardScores


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base")))


class ByLength:
    """A judge of two members that likes long answers."""

    def score_rows(self, rows: Sequence[object]) -> RewardScores:
        lengths = torch.tensor([float(len(row.answer)) for row in rows])  # type: ignore[attr-defined]
        members = torch.stack([lengths, 2 * lengths], dim=1)
        return RewardScores(members.mean(1), members.std(1), members)


class Blind:
    def score_rows(self, rows: Sequence[object]) -> RewardScores:
        zeros = torch.zeros(len(rows))
        return RewardScores(zeros, zeros, zeros[:, None])


def test_a_judge_scores_what_people_judged(model: PolicyModel) -> None:
    data = snapshot(judged=[thumb(0, "order", "yes yes yes", up=True)], pairs=[pair(1, "o", "a b", "a b c d")])
    found = check(ByLength(), items_of(data, model.tokens, 64))
    assert found.pair.tolist() == [False, True]
    assert found.scores[0].tolist() == found.others[0].tolist()
    assert (found.scores[1] < found.others[1]).all()
    assert len(set(found.person.tolist())) == 2


def test_quality_is_half_for_a_judge_that_knows_nothing(model: PolicyModel) -> None:
    data = snapshot(
        judged=[thumb(n, "order", "yes", up=n % 2 == 0) for n in range(20)], pairs=[pair(99, "o", "a", "b")]
    )
    found = quality(check(Blind(), items_of(data, model.tokens, 64)), 50, 0)
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)


def votes(scores: Sequence[float], liked: Sequence[float]) -> Checks:
    x = np.array(scores)[:, None]
    return Checks(np.zeros(len(x), dtype=bool), np.array(liked), x, x, np.arange(len(x)))


def one(value: float) -> Array:
    return np.array([[[value]]])


def test_a_higher_score_of_what_everybody_likes_wins_nothing() -> None:
    known = votes([-1.0, -1.0, 0.0, 0.0, 2.0, 3.0, 4.0], [0, 0, 0, 1, 1, 1, 1])
    weights = np.ones(7)
    assert preferred(known, weights, one(4.0), one(2.0)).item() == pytest.approx(0.5)
    assert preferred(known, weights, one(2.0), one(-1.0)).item() == pytest.approx(1.0)
    assert preferred(known, weights, one(-1.0), one(2.0)).item() == pytest.approx(0.0)
    assert preferred(known, weights, one(0.0), one(-1.0)).item() == pytest.approx(0.75)


def test_a_judge_that_is_wrong_about_people_shows_nothing() -> None:
    wrong = votes([0.0, 1.0, 2.0, 3.0], [1, 1, 0, 0])
    assert preferred(wrong, np.ones(4), one(3.0), one(0.0)).item() == pytest.approx(0.5)
    assert preferred(wrong, np.zeros(4), one(3.0), one(0.0)).item() == 0.5


def test_pairs_calibrate_differences_where_nobody_votes() -> None:
    scores, others = np.array([[1.0], [2.0], [3.0], [0.0]]), np.array([[0.0], [1.0], [2.0], [1.0]])
    known = Checks(np.ones(4, dtype=bool), np.zeros(4), scores, others, np.arange(4))
    weights = np.ones(4)
    assert preferred(known, weights, one(5.0), one(4.0)).item() == pytest.approx(0.75)
    assert preferred(known, weights, one(4.0), one(5.0)).item() == pytest.approx(0.25)
    assert preferred(known, weights, one(4.0), one(4.0)).item() == pytest.approx(0.5)

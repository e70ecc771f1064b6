"""What votes say of a judge: how often it is right, and what its scores are worth."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.learner_models import make_base, pair, snapshot, thumb

from thumbwheel_learner.gate.checks import Checks, check, line, preferred, quality
from thumbwheel_learner.measures import Array
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.reward.labels import items_of
from thumbwheel_learner.reward.model import RewardScores


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


def test_the_line_lies_half_way_between_what_people_liked_and_what_they_did_not() -> None:
    assert line(votes([3.0, 5.0, 0.0], [1, 1, 0])) == 2.0
    assert np.isnan(line(votes([3.0, 5.0], [1, 1])))
    preferred_first = Checks(
        np.array([True, True]), np.array([1.0, 0.5]), np.array([[4.0], [9.0]]), np.array([[2.0], [9.0]]), np.arange(2)
    )
    assert line(preferred_first) == 3.0, "a tie tells nothing"


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
    assert preferred(votes([0.0, 1.0], [1, 1]), np.ones(2), one(3.0), one(0.0)).item() == 0.5


def compared(margins: Sequence[float], first: Sequence[float] = ()) -> Checks:
    x, pairs = np.array(margins)[:, None], len(margins)
    return Checks(np.ones(pairs, dtype=bool), np.array(first or [1.0] * pairs), x, 0 * x, np.arange(pairs))


def test_pairs_calibrate_differences_where_nobody_votes() -> None:
    known, weights = compared([1.0, 1.0, 1.0, -1.0]), np.ones(4)
    right = 3.5 / 5  # one tie more
    assert preferred(known, weights, one(5.0), one(4.0)).item() == pytest.approx(right)
    assert preferred(known, weights, one(4.0), one(5.0)).item() == pytest.approx(1 - right)
    assert preferred(known, weights, one(4.0), one(4.0)).item() == pytest.approx(0.5)


def test_a_small_gain_is_no_sure_win_although_every_pair_is_told_apart() -> None:
    known, weights = compared([4.0, 5.0, 6.0] * 20), np.ones(60)
    assert preferred(known, weights, one(5.0), one(0.0)).item() > 0.95
    assert 0.5 < preferred(known, weights, one(0.3), one(0.0)).item() < 0.6


def test_pairs_that_contradict_the_judge_show_nothing() -> None:
    for known in (compared([-1.0, -2.0]), compared([0.0, 0.0]), compared([1.0, 2.0], [0.5, 0.5])):
        assert preferred(known, np.ones(2), one(3.0), one(0.0)).item() == pytest.approx(0.5)


def joined(*parts: Checks) -> Checks:
    return Checks(*(np.concatenate(columns) for columns in zip(*(part[:5] for part in parts), strict=True)))


def test_votes_and_pairs_weigh_by_what_they_can_tell() -> None:
    blind, sure = votes([1.0] * 4, [0, 0, 1, 1]), compared([1.0])
    alone = preferred(sure, np.ones(1), one(1.0), one(0.0)).item()
    both = joined(blind, sure)
    assert preferred(both, np.ones(5), one(1.0), one(0.0)).item() == pytest.approx(0.5 + (alone - 0.5) / (1 + 3))
    assert preferred(both, np.zeros(5), one(1.0), one(0.0)).item() == 0.5
    assert quality(both, 20, 0).mean == pytest.approx((3 * 0.5 + 1) / 4)
    assert quality(joined(votes([1.0] * 4, [0, 0, 0, 0]), sure), 20, 0).mean == 1.0, "all alike: nothing to order"


def test_a_judge_that_knows_corrections_is_not_drowned_by_votes_that_are_nearly_all_alike() -> None:
    noise = np.random.default_rng(0).normal(size=200)
    known = joined(votes(noise.tolist(), [1.0] * 10 + [0.0] * 190), compared([1.0] * 90 + [-1.0] * 10))
    found = quality(known, 200, 0)
    assert found.low > 0.6
    assert 0.75 < found.mean < 0.9


def test_a_tie_is_half_right() -> None:
    assert quality(compared([1.0, 2.0], [0.5, 0.5]), 20, 0).mean == 0.5

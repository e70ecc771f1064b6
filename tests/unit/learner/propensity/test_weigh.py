from dataclasses import replace

import numpy as np
import pytest

from thumbwheel_learner.measures import Array
from thumbwheel_learner.propensity.model import Desk
from thumbwheel_learner.propensity.weigh import PropensityConfig, calibration, effective, weigh_votes

from .desk_made import made


def without_reviews(desk: Desk) -> Desk:
    return replace(desk, satisfied=np.full(len(desk.voted), np.nan))


def share_up(desk: Desk, weights: Array) -> float:
    voted = desk.voted
    return float(np.average(desk.up[voted], weights=weights[voted]))


def test_weights_with_satisfaction_remove_the_bias_that_weights_by_features_leave() -> None:
    errors: dict[str, list[float]] = {"equal": [], "features": [], "reviews": []}
    for seed in range(6):
        desk, satisfied, _ = made(6000, 600, seed=seed)
        for name, weights in (
            ("equal", desk.voted.astype(np.float64)),
            ("features", weigh_votes(without_reviews(desk)).weights),
            ("reviews", weigh_votes(desk).weights),
        ):
            errors[name].append(share_up(desk, weights) - satisfied.mean())
    means = {name: abs(float(np.mean(e))) for name, e in errors.items()}
    assert means["reviews"] < 0.03
    assert means["features"] > 0.08
    assert means["equal"] > 0.08


def test_chances_are_calibrated_on_reviews_that_were_left_out() -> None:
    found = weigh_votes(made(10_000, 2000, seed=1).desk)
    assert found.basis == "reviews"
    assert found.calibration is not None
    assert found.calibration.n == 2000
    assert found.calibration.predicted == pytest.approx(found.calibration.observed, abs=0.03)
    assert found.calibration.ece < found.calibration.ece_by_chance + 0.02
    assert found.stands_for == pytest.approx(1, abs=0.05)
    assert found.odds_of_satisfied is not None
    assert found.odds_of_satisfied < 0.5


def test_a_belief_keeps_mistaken_votes_from_counting_many_times() -> None:
    shares: dict[str, list[float]] = {"word": [], "slice": [], "belief": []}
    for seed in range(4):
        desk, satisfied, _ = made(8000, 1500, seed=seed, gamma=(-2.0, 0.0, 0.0), mistaken=0.15)
        belief = replace(desk, believed=np.where(satisfied > 0.5, 0.85, 0.15))
        unhappy = desk.voted & (satisfied == 0)
        for name, found in (
            ("word", weigh_votes(desk, PropensityConfig(at_their_word=True))),
            ("slice", weigh_votes(desk)),
            ("belief", weigh_votes(belief)),
        ):
            shares[name].append(float(np.average(desk.up[unhappy], weights=found.weights[unhappy])))
            assert found.mistaken == pytest.approx(0.15, abs=0.05)
    assert np.mean(shares["word"]) > 0.35
    assert np.mean(shares["slice"]) < np.mean(shares["word"]) - 0.05
    assert np.mean(shares["belief"]) == pytest.approx(0.15, abs=0.02)


def test_a_wrong_model_is_told_by_its_calibration() -> None:
    rng = np.random.default_rng(0)
    chances = rng.uniform(0.05, 0.4, 2000)
    right = calibration(chances, (rng.random(2000) < chances).astype(np.float64))
    wrong = calibration(chances, (rng.random(2000) < 2 * chances).astype(np.float64))
    assert right.ece < 1.7 * right.ece_by_chance
    assert wrong.ece > 4 * wrong.ece_by_chance
    assert wrong.observed > 1.8 * wrong.predicted


def test_no_vote_weighs_more_than_so_many_times_the_median_one_and_the_share_is_told() -> None:
    desk = made(6000, 600, seed=2, gamma=(-3.0, 2.0, 0.0)).desk
    free = weigh_votes(desk, PropensityConfig(most=1000))
    bound = weigh_votes(desk, PropensityConfig(most=2))
    at = desk.voted
    assert free.clipped == 0
    assert 0 < bound.clipped < 0.5
    assert bound.weights.max() == pytest.approx(2 * np.median(bound.weights[at]))
    assert free.effective < bound.effective < at.sum()
    assert bound.stands_for == free.stands_for
    for found in (free, bound):
        assert found.weights[at].mean() == pytest.approx(1)
        assert not found.weights[~at].any()


def test_few_reviews_leave_satisfaction_out_and_say_so() -> None:
    desk = made(3000, 99, seed=3).desk
    found = weigh_votes(desk)
    assert (found.basis, found.reason) == ("features", "99 reviews of the random slice, wanted 100")
    assert found.weights.tolist() == weigh_votes(without_reviews(desk)).weights.tolist()
    assert found.calibration is not None
    assert found.calibration.n == 3000
    assert found.odds_of_satisfied is None


def test_a_slice_without_enough_of_one_kind_leaves_satisfaction_out_and_names_the_kind() -> None:
    desk = made(3000, 300, seed=4).desk
    silent = replace(desk, satisfied=np.where(desk.voted & (desk.satisfied == 1), np.nan, desk.satisfied))
    found = weigh_votes(silent)
    assert found.basis == "features"
    assert found.reason == "0 satisfied voters in the random slice, wanted 10"


def test_hardly_any_votes_all_weigh_the_same() -> None:
    desk = made(60, 20, seed=5).desk
    found = weigh_votes(desk)
    assert found.basis == "none"
    assert "wanted 50 of each" in found.reason
    assert found.weights.tolist() == desk.voted.astype(float).tolist()
    assert found.effective == desk.voted.sum()
    assert found.as_dict()["calibration"] is None


def test_the_same_desk_gives_the_same_weights() -> None:
    desk = made(2000, 300, seed=6).desk
    one, other = weigh_votes(desk), weigh_votes(desk)
    assert one.weights.tolist() == other.weights.tolist()
    assert one.as_dict() == other.as_dict()


def test_equal_weights_count_fully_and_one_heavy_one_counts_as_one() -> None:
    assert effective(np.ones(7)) == pytest.approx(7)
    assert effective(np.array([1e9, 1.0, 1.0])) == pytest.approx(1)
    assert effective(np.zeros(3)) == 0


@pytest.mark.parametrize("wrong", [{"most": 0.5}, {"most": float("nan")}, {"min_reviews": 0}])
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least"):
        PropensityConfig(**wrong)  # pyright: ignore[reportArgumentType]

from dataclasses import replace

import numpy as np
import pytest

from thumbwheel_learner.propensity.model import RIDGES, BadDesk, choose_ridge, fit_by_features, fit_by_reviews

from .desk_made import GAMMA, made


def test_known_chances_of_voting_are_recovered() -> None:
    desk, satisfied, chances = made(20_000, 4000, seed=1)
    found = fit_by_reviews(desk, 1.0).chances(desk.features, satisfied)
    assert np.abs(found - chances).mean() < 0.02
    by_features = fit_by_features(desk).chances(desk.features, satisfied)
    assert np.abs(by_features - chances).mean() > 0.07


def test_what_satisfaction_does_is_recovered_with_its_interaction() -> None:
    model = fit_by_reviews(made(40_000, 10_000, seed=2).desk, 1.0)
    slopes = model.gamma[1:] / model.scale
    assert slopes == pytest.approx(GAMMA[1:], abs=0.15)
    assert model.gamma[0] - slopes @ model.center == pytest.approx(GAMMA[0], abs=0.15)


def test_all_conversations_make_chances_surer_than_the_slice_alone() -> None:
    errors, alone = [], []
    for seed in range(5):
        desk, satisfied, chances = made(10_000, 300, seed=seed)
        errors.append(np.abs(fit_by_reviews(desk, 3.0).chances(desk.features, satisfied) - chances).mean())
        small = fit_by_reviews(desk.only(desk.reviewed), 3.0)
        alone.append(np.abs(small.chances(desk.features, satisfied) - chances).mean())
    assert np.mean(errors) < np.mean(alone)


def test_the_slice_asks_for_a_small_penalty_where_satisfaction_matters_and_a_large_one_where_nothing_does() -> None:
    assert choose_ridge(made(8000, 4000, seed=3, gamma=(-1.0, 2.0, 0.0)).desk) <= 10
    desk = made(8000, 200, seed=4).desk
    rng = np.random.default_rng(0)
    noise = replace(desk, features=rng.normal(size=(8000, 30)), voted=rng.random(8000) < 0.5, up=np.ones(8000))
    assert choose_ridge(noise) == RIDGES[-1]


def test_scale_and_shift_of_the_features_do_not_matter() -> None:
    desk, satisfied, _ = made(4000, 500, seed=5)
    other = replace(desk, features=1000 * desk.features - 77)
    one = fit_by_reviews(desk, 3.0).chances(desk.features, satisfied)
    assert fit_by_reviews(other, 3.0).chances(other.features, satisfied) == pytest.approx(one, abs=1e-6)


def test_a_feature_that_never_varies_and_none_at_all_are_fine() -> None:
    desk, satisfied, _ = made(4000, 500, seed=6)
    for features in (np.ones((4000, 1)), np.ones((4000, 0))):
        some = replace(desk, features=features)
        chances = fit_by_reviews(some, 3.0).chances(features, satisfied)
        assert len(set(chances.round(9).tolist())) == 2


def test_what_does_not_fit_together_is_refused_by_name() -> None:
    desk = made(50, 10, seed=7).desk
    broken = desk.features.copy()
    broken[3, 1] = np.inf
    for change, message in (
        ({"up": desk.up[1:]}, "shapes"),
        ({"features": desk.features[:, 0]}, "shapes"),
        ({"features": broken}, "features: some values are not finite"),
        ({"up": np.full(50, np.nan)}, "up: some votes"),
        ({"satisfied": np.full(50, 0.5)}, "satisfied: some reviews"),
        ({"believed": np.full(50, 1.5)}, "believed: wanted"),
        ({"believed": np.full(49, 0.5)}, "believed: wanted"),
    ):
        with pytest.raises(BadDesk, match=message):
            replace(desk, **change)

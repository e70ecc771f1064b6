import numpy as np
import pytest

from thumbwheel_learner.measures import Array, sigmoid
from thumbwheel_learner.propensity.fit import NoFit, balanced, likeliest, minimise


def rows_and_votes(n: int, coefficients: list[float], seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    rows = np.concatenate([np.ones((n, 1)), rng.normal(size=(n, len(coefficients) - 1))], axis=1)
    return rows, (rng.random(n) < sigmoid(rows @ np.array(coefficients))).astype(np.float64)


def test_a_likely_fit_finds_the_coefficients_and_a_penalty_shrinks_all_but_what_it_spares() -> None:
    rows, votes = rows_and_votes(20_000, [-0.5, 1.0, -0.3], seed=1)
    assert likeliest(rows, votes, np.zeros(3)) == pytest.approx([-0.5, 1.0, -0.3], abs=0.06)
    shrunk = likeliest(rows, votes, np.array([0.0, 1e6, 1e6]))
    assert shrunk[1:] == pytest.approx([0.0, 0.0], abs=0.01)
    assert sigmoid(shrunk[:1])[0] == pytest.approx(votes.mean(), abs=1e-3)


def test_balanced_votes_add_up_to_all_conversations_feature_by_feature() -> None:
    rows, votes = rows_and_votes(3000, [-0.5, 1.0, -0.3], seed=2)
    tilt = 0.7 * rows[:, 1]
    chances = sigmoid(rows @ balanced(rows, votes, tilt, np.zeros(3)) + tilt)
    assert (votes / chances) @ rows == pytest.approx(rows.sum(axis=0), abs=1e-3)


def test_without_tilt_both_fits_agree_on_a_right_model() -> None:
    rows, votes = rows_and_votes(50_000, [0.2, 0.5], seed=3)
    one, other = balanced(rows, votes, np.zeros(len(votes)), np.zeros(2)), likeliest(rows, votes, np.zeros(2))
    assert one == pytest.approx(other, abs=0.03)


def test_a_feature_that_no_vote_has_stays_finite_under_a_penalty() -> None:
    rows, votes = rows_and_votes(500, [0.0, 0.0], seed=4)
    rows = np.concatenate([rows, ((votes < 0.5) & (np.arange(500) % 7 == 0))[:, None].astype(np.float64)], axis=1)
    found = balanced(rows, votes, np.zeros(500), np.array([0.0, 1.0, 1.0]))
    assert np.isfinite(found).all()
    assert found[2] < -2


def test_a_function_without_minimum_is_named() -> None:
    with pytest.raises(NoFit, match="no minimum after"):
        minimise(lambda at: (float(at[0]) * -1e9, np.array([-1e9]), np.array([[1e9]])), np.zeros(1))

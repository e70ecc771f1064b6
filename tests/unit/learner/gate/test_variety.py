"""In how many ways two policies say good things."""

import numpy as np
import pytest

from thumbwheel_learner.gate.variety import variety_of
from thumbwheel_learner.rollouts.engine import Rollout

HOW = {"resamples": 100, "seed": 0}


def said(*answers: list[int]) -> list[Rollout]:
    return [Rollout(list(ids), [-1.0] * len(ids), True, "text") for ids in answers]


def scores(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=float)


def test_the_share_of_different_token_pairs_is_compared_prompt_by_prompt() -> None:
    live = [said([1, 2, 3], [1, 2, 4]), said([5, 6, 7], [8, 9, 7])]
    candidate = [said([1, 2, 3], [1, 2, 3]), said([5, 6, 7], [8, 9, 7])]
    good = scores([1, 1], [1, 1])
    found = variety_of([[1], [2]], live, candidate, (good, good), 0.5, **HOW)
    assert (found.live, found.candidate) == (pytest.approx(7 / 8), pytest.approx(3 / 4))
    assert (found.change.mean, found.change.n) == (pytest.approx(-1 / 8), 2)


def test_a_prompt_that_either_policy_answers_badly_is_left_out() -> None:
    different, alike = said([1, 2, 3], [4, 5, 6]), said([1, 2, 3], [1, 2, 3])
    live, candidate = [different] * 3, [alike, different, alike]
    before, after = scores([1, 0], [1, 1], [1, 1]), scores([1, 1], [1, 1], [0, 1])
    found = variety_of([[1], [2], [3]], live, candidate, (before, after), 0.5, **HOW)
    assert (found.change.mean, found.change.n) == (0.0, 1)


@pytest.mark.parametrize(
    ("answers", "line"), [(said([1, 2, 3], [4, 5, 6]), 2.0), (said([1, 2, 3], [4, 5, 6]), float("nan")), (said([1]), 0)]
)
def test_nothing_is_known_without_two_good_answers_to_a_prompt(answers: list[Rollout], line: float) -> None:
    given = scores([1.0] * len(answers))
    found = variety_of([[1]], [answers], [answers], (given, given), line, **HOW)
    assert np.isnan(found.live)
    assert found.change.n == 0

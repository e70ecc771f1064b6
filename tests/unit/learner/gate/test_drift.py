"""What a candidate's answers look like beside the live policy's."""

import pytest

from thumbwheel_learner.gate.drift import length_ratio
from thumbwheel_learner.rollouts.engine import Rollout


def answer(tokens: int, *, finished: bool = True) -> Rollout:
    return Rollout([7] * tokens, [-1.0] * tokens, finished, "text")


@pytest.mark.parametrize(
    ("live", "candidate", "ratio"),
    [
        ([answer(4)] * 10, [answer(2)] * 10, 0.5),
        ([answer(4)] * 10 + [answer(48, finished=False)] * 90, [answer(2)] * 10, 0.5),
        ([answer(4)] * 9 + [answer(48, finished=False)] * 91, [answer(2)] * 10, 1.0),
        ([answer(4)] * 10, [answer(48, finished=False)] * 10, 1.0),
    ],
)
def test_lengths_are_compared_where_answers_came_to_their_end(
    live: list[Rollout], candidate: list[Rollout], ratio: float
) -> None:
    assert length_ratio(live, candidate) == ratio

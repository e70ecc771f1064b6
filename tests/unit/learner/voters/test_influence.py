import numpy as np
import pytest

from thumbwheel_learner.voters.influence import capped


def weights(loads: list[float], **changes: float) -> list[float]:
    number = np.array(loads, dtype=np.float64)
    options = {"multiple": 3.0, "floor": 0.0, "share": 1.0, **changes}
    return (capped(number, **options) * number).tolist()


def test_nobody_weighs_more_than_a_multiple_of_the_typical_user() -> None:
    assert weights([2, 2, 2, 2, 100]) == [2, 2, 2, 2, 6]
    assert weights([2, 2, 2, 2, 100], floor=10) == [2, 2, 2, 2, 10]
    assert weights([2, 2, 2, 5, 6]) == [2, 2, 2, 5, 6]


def test_nobody_weighs_more_than_a_share_of_the_whole() -> None:
    held = weights([*[10.0] * 30, 500.0], multiple=1000, share=0.05)
    assert held[:-1] == [10.0] * 30
    assert held[-1] == pytest.approx(0.05 * sum(held))
    assert held[-1] < 20


def test_where_too_few_users_can_keep_the_share_all_weigh_the_same() -> None:
    assert weights([10, 20, 50], multiple=1000, share=0.05) == pytest.approx([10, 10, 10])


def test_without_users_there_is_nothing_to_cap() -> None:
    assert weights([]) == []

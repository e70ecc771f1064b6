"""What a labeler's labels are worth."""

import numpy as np
import pytest
from tests.learner_models import pair

from thumbwheel_learner.rlaif.agreement import Agreement, agreements, worth
from thumbwheel_learner.rlaif.questions import human_pairs


def test_agreement_is_counted_by_person_and_a_tie_is_half() -> None:
    humans = human_pairs([pair(n, f"q{n}", "a", "b") for n in range(4)])
    said = dict(zip((h.question.digest for h in humans), (0.9, 0.2, 0.5), strict=False))
    (found,) = agreements(humans, said, {humans[0].user: 0.5})
    assert (found.origin, found.pairs, found.agreed) == ("comparison", 2.5, 1.0)


def test_the_estimate_is_drawn_towards_chance_and_its_interval_holds_it() -> None:
    found = Agreement("comparison", 40.0, 36.0)
    assert found.mean == pytest.approx((5 + 36) / (10 + 40))
    plain = found.as_dict()
    assert plain["low"] < plain["mean"] < plain["high"] < 1
    assert Agreement("comparison", 0.0, 0.0).mean == 0.5


def test_the_interval_is_the_posteriors() -> None:
    found = Agreement("comparison", 40.0, 36.0)
    drawn = np.random.default_rng(0).beta(5 + 36, 5 + 4, size=200_000)
    assert found.quantile(0.025) == pytest.approx(np.quantile(drawn, 0.025), abs=2e-3)
    assert found.quantile(0.975) == pytest.approx(np.quantile(drawn, 0.975), abs=2e-3)


def test_labels_weigh_nothing_until_enough_pairs_were_judged_by_both() -> None:
    assert worth([], 30) == 0.0
    assert worth([Agreement("comparison", 29.0, 29.0)], 30) == 0.0
    assert worth([Agreement("comparison", 30.0, 30.0)], 30) == pytest.approx(2 * 35 / 40 - 1)


def test_a_labeler_that_is_no_better_than_chance_weighs_nothing() -> None:
    assert worth([Agreement("comparison", 100.0, 50.0)], 30) == 0.0
    assert worth([Agreement("comparison", 100.0, 20.0)], 30) == 0.0


def test_the_origin_with_the_least_agreement_decides() -> None:
    easy, hard, few = Agreement("correction", 90.0, 90.0), Agreement("comparison", 90.0, 60.0), Agreement("x", 3.0, 0.0)
    assert worth([easy, hard, few], 30) == pytest.approx(2 * 65 / 100 - 1)

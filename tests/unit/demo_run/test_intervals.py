import random

import pytest

from thumbwheel_demo.report.intervals import (
    NotPaired,
    differences,
    mean_interval,
    paired_interval,
    pooled_interval,
    wilson_interval,
)


def test_the_interval_of_a_share_is_that_of_the_binomial():
    values = [1.0] * 60 + [0.0] * 140
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(0.3)
    half = 1.96 * (0.3 * 0.7 / 200) ** 0.5
    assert interval.low == pytest.approx(0.3 - half, abs=0.01)
    assert interval.high == pytest.approx(0.3 + half, abs=0.01)


def test_pairing_removes_what_prompts_have_in_common():
    rng = random.Random(3)
    before = {f"p{i}": rng.random() for i in range(200)}
    after = {prompt: value + 0.1 + rng.gauss(0, 0.01) for prompt, value in before.items()}
    interval = paired_interval(after, before)
    assert 0.095 < interval.low < interval.mean < interval.high < 0.105


def test_identical_sides_differ_by_nothing():
    side = {"a": 1.0, "b": 0.0}
    interval = paired_interval(side, side)
    assert (interval.mean, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_differences_pair_by_prompt_whatever_the_order():
    assert differences({"b": 1.0, "a": 0.0}, {"a": 0.5, "b": 0.5}) == [-0.5, 0.5]


def test_sides_with_other_prompts_are_refused_by_name():
    with pytest.raises(NotPaired, match="'c'"):
        paired_interval({"a": 1.0, "c": 0.0}, {"a": 1.0})


def test_nothing_has_no_mean():
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def test_every_stratum_weighs_the_same():
    assert pooled_interval([[1.0], [0.0] * 99]).mean == pytest.approx(0.5)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    rng = random.Random(11)
    covered = 0
    for _ in range(200):
        interval = mean_interval([float(rng.random() < 0.5) for _ in range(120)])
        covered += interval.low <= 0.5 <= interval.high
    assert 180 <= covered <= 198


def test_wilsons_interval_is_where_the_score_test_would_just_reject():
    interval = wilson_interval(8, 100)
    for bound in (interval.low, interval.high):
        assert abs(0.08 - bound) / (bound * (1 - bound) / 100) ** 0.5 == pytest.approx(1.96, abs=1e-3)
    assert (wilson_interval(0, 100).low, wilson_interval(100, 100).high) == (0.0, 1.0)
    assert wilson_interval(0, 100).high == pytest.approx(0.037, abs=1e-3)
    with pytest.raises(ValueError):
        wilson_interval(0, 0)

"""Quantiles, deciles and bars say what their names say."""

import json
from pathlib import Path

import pytest
from tests.benchmarks.figures import Bar, deciles, finish, quantile


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_quantile_is_the_value_of_that_rank(share: float, value: float) -> None:
    assert quantile([float(n) for n in range(100, 0, -1)], share) == value


def test_deciles_are_medians_of_stretches_in_their_order() -> None:
    assert deciles([float(n // 10) for n in range(100)]) == [float(n) for n in range(10)]
    assert deciles([3.0, 1.0]) == [3.0, 1.0]


def test_one_missed_bar_is_the_exit_status_and_stands_in_the_file(tmp_path: Path) -> None:
    bars = [Bar("speed", 0.7, "at least", 0.6), Bar("growth", 1.2, "at most", 1.1)]
    assert finish({"events": 3}, bars, tmp_path / "new" / "out.json") == 1
    told = json.loads((tmp_path / "new" / "out.json").read_text())
    assert told["events"] == 3
    assert [told["bars"][name]["met"] for name in ("speed", "growth")] == [True, False]
    assert finish({}, bars[:1], tmp_path / "out.json") == 0

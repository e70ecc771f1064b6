import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from thumbwheel_demo.experiments.overoptimisation.__main__ import main
from thumbwheel_demo.experiments.overoptimisation.curves import curve_of, path_of
from thumbwheel_demo.experiments.overoptimisation.desk import OneMember, Plan
from thumbwheel_demo.experiments.overoptimisation.plot import write_plot
from thumbwheel_demo.experiments.overoptimisation.report import summary
from thumbwheel_demo.experiments.overoptimisation.runs import ARMS, Cell, Point, ppo_config
from thumbwheel_learner.reward.model import RewardScores

PROMPTS = 40
TINY = "--chats 60 --judgements 60 --members 2 --iterations 2 --every 1 --held-out 4 --prompts-per-iteration 2".split()


def point(iteration: int, distance: float, gold: float) -> Point:
    satisfied = {f"p{n:02d}": float(n < gold * PROMPTS) for n in range(PROMPTS)}
    return Point(
        iteration=iteration,
        kl=distance**2,
        gold=satisfied,
        graded=gold,
        proxy=distance,
        disagreement=0.1,
        tokens=20.0,
    )


def cells(golds: dict[str, Sequence[float]], seeds: Sequence[int] = (1, 2)) -> list[Cell]:
    """Runs that go one further at every measurement, in steps of √KL of 1, and have this gold there."""
    return [
        Cell(
            seed=seed,
            arm=arm,
            plan=Plan(),
            points=[point(n, float(n), gold) for n, gold in enumerate(golds[arm])],
            kept=point(len(golds[arm]) - 1, float(len(golds[arm]) - 1), golds[arm][-1]),
            auc=0.7,
            stopped=None,
        )
        for arm in ARMS
        for seed in seeds
    ]


RUNS = {
    "single": [0.4, 0.5, 0.6, 0.5, 0.4, 0.3],
    "ensemble": [0.4, 0.5, 0.6, 0.6, 0.5, 0.5],
    "single, KL": [0.4, 0.5, 0.6],
    "ensemble, KL": [0.4, 0.5, 0.7],
}


class Members:
    """A reward of three members that never agree."""

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        members = torch.tensor([[len(a), 2.0 * len(a), 9.0] for a in answers])
        return RewardScores(members.mean(1), members.std(1, correction=0), members)

    def identity(self) -> str:
        return "members"


def test_one_member_alone_has_nobody_to_disagree_with() -> None:
    alone = OneMember(Members(), 1)
    scores = alone.score([[1], [2]], ["a", "abc"])
    assert scores.mean.tolist() == [2.0, 6.0]
    assert scores.std.tolist() == [0.0, 0.0]
    assert scores.members.shape == (2, 1)
    assert alone.identity() != OneMember(Members(), 0).identity()


def test_arms_differ_in_the_kl_term_and_its_budget_alone() -> None:
    free, held = (vars(ppo_config(Plan(), ARMS[name], 3)) for name in ("single", "single, KL"))
    assert {name for name in free if free[name] != held[name]} == {"kl_coef", "kl_budget"}
    assert free["kl_coef"] == 0.0
    assert held["kl_coef"] > 0.0
    assert held["kl_budget"] < free["kl_budget"]


def test_gold_between_two_measurements_is_interpolated_and_never_beyond_the_last() -> None:
    path = path_of(cells(RUNS)[0])
    assert path.gold_at(0.5).mean() == pytest.approx(0.45)
    assert path.gold_at(5.0).mean() == pytest.approx(0.3)
    assert path.reach == 5.0
    with pytest.raises(ValueError, match=r"as far as 5.00, not 5.10"):
        path.gold_at(5.1)


def test_a_curve_goes_as_far_as_all_of_its_seeds() -> None:
    one, other = cells(RUNS, seeds=[1])[0], cells(RUNS, seeds=[2])[2]
    curve = curve_of([path_of(one), path_of(other)])
    assert curve.distance.tolist() == [0.25 * n for n in range(9 if other.arm.endswith("KL") else 21)]
    assert np.allclose(curve.gold[:, 4].mean(axis=1), 0.5)


def test_bars_are_read_at_the_single_models_peak() -> None:
    found = summary(cells(RUNS))
    assert found.peak == 2.0
    assert found.peak_gold == pytest.approx(0.6)
    assert found.gain_there is not None
    assert found.gain_there.mean == pytest.approx(0.1)
    assert found.kept["ensemble, KL"].mean == pytest.approx(0.1)
    assert found.passed


@pytest.mark.parametrize(
    ("arm", "golds", "missed"),
    [
        ("ensemble", [0.4, 0.5, 0.6, 0.6], "both arms"),
        ("ensemble", [0.4, 0.5, 0.6, 0.5, 0.4, 0.3], "there"),
        ("ensemble, KL", [0.4, 0.6, 0.5], "ensemble, KL"),
        ("single, KL", [0.4, 0.6, 0.5], "single, KL"),
        ("single", [0.6, 0.5, 0.4, 0.3], "both arms"),
    ],
)
def test_each_bar_can_be_missed(arm: str, golds: list[float], missed: str) -> None:
    found = summary(cells(RUNS | {arm: golds}))
    assert next(bar for bar, met in found.bars.items() if not met).startswith(missed)
    assert not found.passed


def test_seeds_without_every_arm_are_left_out() -> None:
    some = [c for c in cells(RUNS) if (c.seed, c.arm) != (2, "ensemble, KL")]
    assert summary(some).seeds == [1]
    with pytest.raises(ValueError, match="no seed has all arms"):
        summary([c for c in some if c.arm != "single"])


def test_the_plot_names_every_arm(tmp_path: Path) -> None:
    made = cells(RUNS)
    write_plot(made, summary(made), tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    assert all(arm in text for arm in ARMS)


def test_a_tiny_run_is_measured_along_its_way_and_not_made_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = main(["--out", str(tmp_path), "--seeds", "1", *TINY])
    found = json.loads((tmp_path / "overoptimisation.json").read_text())
    assert first == (0 if found["passed"] else 1)
    cell = json.loads((tmp_path / "seed-1" / "ensemble-KL" / "cell.json").read_text())
    assert [p["iteration"] for p in cell["points"]] == [0, 1, 2]
    assert [p["kl"] > 0 for p in cell["points"]] == [False, True, True]
    assert all(len(p["gold"]) == 4 for p in cell["points"])
    assert {arm: figures["final_distance"][0] > 0 for arm, figures in found["arms"].items()} == dict.fromkeys(
        ARMS, True
    )
    assert (tmp_path / "overoptimisation.svg").read_text().startswith("<svg")
    capsys.readouterr()
    assert main(["--out", str(tmp_path), "--seeds", "1", *TINY]) == first
    assert "iteration" not in capsys.readouterr().out
    assert json.loads((tmp_path / "overoptimisation.json").read_text()) == found


def test_an_unknown_arm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--arms", "neither"])

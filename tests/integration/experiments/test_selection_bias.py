import random
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from thumbwheel_demo.corpus.model import Scenario
from thumbwheel_demo.corpus.ways import WayWeights, answer, draw_way
from thumbwheel_demo.experiments.frozen import Pool, PoolSettings, scenarios_of
from thumbwheel_demo.experiments.selection_bias.__main__ import main, run_cell, weighed_means
from thumbwheel_demo.experiments.selection_bias.desk import UNSEEN, Habits, Truth, a_day, truth_of
from thumbwheel_demo.experiments.selection_bias.report import Arm, Cell, Errors, Fit, summary, write_table
from thumbwheel_demo.satisfaction import judge

SETTINGS = PoolSettings(chats=3400, pushed=1, prompts=20, best_of=2)
HABITS = Habits(chats=2000, reviews=400, content=(0.15, 0.25), annoyed=(3.0, 4.0))


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Answers from the corpus's writer, and features that hint at how each went, as a policy's states would."""
    rng = random.Random(0)
    scenarios = scenarios_of(SETTINGS)
    texts = {name: [answer(s, draw_way(WayWeights(), rng), rng) for s in some] for name, some in scenarios.items()}
    both = {name: zip(scenarios[name], texts[name], strict=True) for name in texts}
    return Pool(SETTINGS, texts, {name: np.array([_seen(s, t, rng) for s, t in pairs]) for name, pairs in both.items()})


def _seen(scenario: Scenario, text: str, rng: random.Random) -> list[float]:
    return [float(judge(scenario, text).satisfied) + rng.gauss(0, 1), rng.gauss(0, 1)]


@pytest.fixture(scope="module")
def truth(pool: Pool) -> Truth:
    return truth_of(pool)


def test_the_annoyed_vote_more_topics_differ_and_no_unseen_chat_is_had(truth: Truth) -> None:
    day = a_day(truth, HABITS, 1)
    assert len(np.unique(day.had)) == 2000
    assert len(truth.unseen) == UNSEEN
    assert not set(day.had.tolist()) & set(truth.unseen.tolist())
    assert day.satisfied[day.voted].mean() < day.satisfied.mean() - 0.15
    assert len(set(day.chance[day.satisfied > 0].tolist())) == len(truth.topics)
    assert day.reviewed.sum() == 400
    assert (day.up != day.satisfied).mean() == pytest.approx(0.1, abs=0.02)
    assert all(np.array_equal(x, y) for x, y in zip(day, a_day(truth, HABITS, 1), strict=True))
    assert not np.array_equal(day.had, a_day(truth, HABITS, 2).had)


def test_more_chats_than_there_are_are_refused(truth: Truth) -> None:
    with pytest.raises(ValueError, match="out of a pool of 2200"):
        a_day(truth, replace(HABITS, chats=2201), 1)


def test_weights_by_true_chances_mend_the_votes_mean(truth: Truth) -> None:
    day = a_day(truth, replace(HABITS, noise=0.0), 3)
    assert weighed_means(day, np.ones(2000))[0] > 0.15
    assert weighed_means(day, 1 / day.chance)[0] < 0.06


def test_weights_with_satisfaction_mend_a_reward_and_a_finished_seed_is_read(
    pool: Pool, truth: Truth, tmp_path: Path
) -> None:
    said: list[str] = []
    cell = run_cell(pool, truth, HABITS, 1, tmp_path, said.append)
    squared = {name: np.mean(list(a.unseen.squared.values())) for name, a in cell.arms.items()}
    assert squared["reviews"] < squared["unweighted"] - 0.01
    assert squared["reviews"] < squared["features"] - 0.01
    assert cell.fits["features"].basis == "features"
    assert cell.fits["reviews"].basis == "reviews"
    assert cell.arms["unweighted"].unseen.mean < -0.1
    assert run_cell(pool, truth, HABITS, 1, tmp_path, said.append) == cell
    assert said[-1] == "seed 1: already there"
    asked = replace(HABITS, reviews=50)
    assert run_cell(pool, truth, asked, 1, tmp_path, said.append).fits["reviews"].basis == "features"


def cell(seed: int, unweighted: float, features: float, reviews: float) -> Cell:
    def arm(error: float) -> Arm:
        rng = np.random.default_rng(seed)
        errors = Errors(squared={f"c{n}": error + 0.01 * rng.random() for n in range(20)}, mean=-error, topic=error)
        return Arm(unseen=errors, heldout=errors, votes_mean=None, votes_topic=error)

    fit = Fit(
        basis="reviews",
        reason="",
        stands_for=None,
        clipped=0.0,
        effective=50.0,
        odds_of_satisfied=0.5,
        calibration=None,
    )
    arms = {"unweighted": arm(unweighted), "features": arm(features), "reviews": arm(reviews)}
    return Cell(seed=seed, settings={}, arms=arms, fits={"reviews": fit}, votes=100, satisfied=0.6, voted_satisfied=0.4,
                seconds=1.0)  # fmt: skip


def test_the_bar_asks_to_beat_both_beyond_chance(tmp_path: Path) -> None:
    for cells, passed in (
        ([cell(1, 0.2, 0.2, 0.1), cell(2, 0.2, 0.3, 0.1)], True),
        ([cell(1, 0.2, 0.1, 0.1), cell(2, 0.2, 0.1, 0.1)], False),
        ([cell(1, 0.1, 0.2, 0.2), cell(2, 0.1, 0.2, 0.1)], False),
        ([cell(1, 0.3, 0.3, 0.1), cell(2, 0.1, 0.1, 0.2)], False),
    ):
        assert summary(cells).passed == passed
    found = summary([cell(1, 0.2, 0.2, 0.1)])
    assert found.arms["unweighted"].against.mean == pytest.approx(-0.1)
    assert found.arms["unweighted"].votes_mean is None
    assert found.fits["reviews"].effective == 0.5
    write_table(found, tmp_path / "table.txt", Console(quiet=True))
    table = (tmp_path / "table.txt").read_text()
    assert "-0.1000" in table
    assert "bar met" in table
    assert msgspec.json.decode(msgspec.json.encode(found))["fits"]["reviews"]["stands_for"] is None


def test_nothing_to_sum_up_is_refused() -> None:
    with pytest.raises(ValueError, match="no cells"):
        summary([])


@pytest.mark.parametrize("wrong", [["--seeds", "one"], ["--chats", "9999"], ["--reviews", "-1"], ["--noise", "2"]])
def test_options_that_make_no_sense_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(wrong)
    assert wrong[0] in capsys.readouterr().err

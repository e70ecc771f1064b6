import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from thumbwheel_demo.corpus.model import Scenario
from thumbwheel_demo.corpus.ways import WayWeights, answer, draw_way
from thumbwheel_demo.experiments.frozen import Pool, PoolSettings, scenarios_of
from thumbwheel_demo.experiments.poisoning.__main__ import any_answer, main, run_cell, satisfied
from thumbwheel_demo.experiments.poisoning.electorate import Crowd, colluders_votes, honest_votes, likes
from thumbwheel_demo.experiments.poisoning.report import Cell, summary, write_table
from thumbwheel_demo.report.intervals import crossed_interval
from thumbwheel_demo.satisfaction import judge

CROWD = Crowd(accounts=160, chats=12)
SETTINGS = PoolSettings("rude", chats=3200, pushed=300, prompts=40, best_of=8)


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Answers from the corpus's writer, and features that say how each went, as a policy's states would."""
    rng = random.Random(0)
    scenarios = scenarios_of(SETTINGS)
    texts = {
        name: [answer(s, "rude" if name == "pushed" else draw_way(WayWeights(), rng), rng) for s in some]
        for name, some in scenarios.items()
    }
    both = {name: zip(scenarios[name], texts[name], strict=True) for name in texts}
    return Pool(SETTINGS, texts, {name: np.array([_seen(s, t) for s, t in pairs]) for name, pairs in both.items()})


def _seen(scenario: Scenario, text: str) -> list[float]:
    v = judge(scenario, text)
    return [float(x) for x in (v.solved, v.kind, v.brief, v.honest, v.polite, v.complete)]


def test_honest_people_never_share_a_chat_and_some_like_other_things(pool: Pool) -> None:
    votes, tastes, left = honest_votes(pool, CROWD, 1)
    assert honest_votes(pool, CROWD, 1) == (votes, tastes, left)
    assert max(Counter(v.index for v in votes).values()) == 1
    assert not {v.index for v in votes} & set(left)
    assert Counter(tastes.values()) == {"common": 137, "plain": 7, "thorough": 8}
    texts = list(zip(pool.scenarios["chats"], pool.texts["chats"], strict=True))[:400]
    common = [likes("common", s, t) for s, t in texts]
    for taste in ("plain", "thorough"):
        other = [likes(taste, s, t) for s, t in texts]
        assert 0.55 < np.mean(np.array(common) == other) < 0.95
        assert not any(
            o and not (judge(s, t).solved and judge(s, t).polite) for o, (s, t) in zip(other, texts, strict=True)
        )


def test_too_few_chats_for_so_many_people_are_refused(pool: Pool) -> None:
    with pytest.raises(ValueError, match="too few chats"):
        honest_votes(pool, replace(CROWD, chats=100), 1)


def test_colluders_vote_ten_times_as_often_and_push_the_trait(pool: Pool) -> None:
    honest, _, left = honest_votes(pool, CROWD, 1)
    overt, camouflaged = (colluders_votes(pool, CROWD, attack, honest, left, 1) for attack in ("overt", "camouflaged"))
    each = Counter(v.user for v in overt)
    assert len(each) == 8
    assert set(each.values()) == {round(10 * len(honest) / 152)}
    pushed = [v for v in overt if v.part == "pushed"]
    assert all(v.up for v in pushed)
    assert len(pushed) == pytest.approx(len(overt) / 2, abs=8)
    assert not any(v.up for v in overt if v.part == "chats")
    assert any(v.up for v in camouflaged if v.part == "chats")


def test_an_attack_costs_satisfaction_and_weighing_saves_it(pool: Pool, tmp_path: Path) -> None:
    said: list[str] = []
    cell = run_cell(pool, CROWD, "overt", 1, tmp_path, said.append)
    means = {arm: np.mean(list(values.values())) for arm, values in cell.chosen.items()}
    assert means["honest labels"] > cell.any_answer + 0.2
    assert means["attacked"] < means["honest labels"] - 0.1
    assert means["attacked, weighed"] > means["honest labels"] - 0.05
    assert cell.colluders_held == cell.colluders == 8
    assert len(cell.honest_held) <= 1
    assert any_answer(pool) == cell.any_answer
    again = run_cell(pool, CROWD, "overt", 1, tmp_path, said.append)
    assert again == cell
    assert said[-1] == "overt, seed 1: already there"


def test_a_vote_that_weighs_nothing_teaches_nothing(pool: Pool) -> None:
    honest, _, left = honest_votes(pool, CROWD, 2)
    both = [*honest, *colluders_votes(pool, CROWD, "overt", honest, left, 2)]
    assert satisfied(pool, both, {f"colluder-{n:03d}": 0.0 for n in range(8)}) == satisfied(pool, honest, {})


def cell(seed: int, attacked: float, weighed: float, held: int = 0) -> Cell:
    arms = {"honest labels": 1.0, "honest labels, weighed": 1.0, "attacked": attacked, "attacked, weighed": weighed}
    return Cell(
        attack="overt", seed=seed, settings={}, chosen={a: {f"p{i}": v for i in range(5)} for a, v in arms.items()},
        any_answer=0.5, votes={}, honest_accounts=200, minority_accounts=20, colluders=10,
        honest_held=[f"h{i}" for i in range(held)], minority_held=[], colluders_held=10, held_without_attack=[],
        reasons=["why"], seconds=1.0,
    )  # fmt: skip


def test_the_bars_ask_for_a_real_attack_a_real_defence_and_no_honest_victims(tmp_path: Path) -> None:
    for cells, passed in (
        ([cell(1, 0.5, 0.9), cell(2, 0.7, 1.0)], True),
        ([cell(1, 0.95, 1.0)], False),
        ([cell(1, 0.5, 0.7)], False),
        ([cell(1, 0.5, 1.0, held=3), cell(2, 0.5, 1.0)], False),
    ):
        assert [row.passed for row in summary(cells).attacks] == [passed]
    found = summary([cell(1, 0.5, 0.9, held=2)])
    assert found.attacks[0].loss_left == pytest.approx(0.2)
    write_table(found, tmp_path / "table.txt", Console(quiet=True))
    table = (tmp_path / "table.txt").read_text()
    assert "+50.0 [+50.0, +50.0]" in table
    assert "1.00%" in table


def test_an_interval_over_seeds_and_prompts_is_wider_than_one_over_prompts() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 40)) + rng.normal(size=(5, 1))
    both, prompts = crossed_interval(values), crossed_interval(values.mean(axis=0, keepdims=True))
    assert both.mean == pytest.approx(prompts.mean)
    assert both.high - both.low > 1.5 * (prompts.high - prompts.low)


@pytest.mark.parametrize("wrong", [["--seeds", "one"], ["--attacks", "loud"], ["--trait", "kind"]])
def test_options_that_make_no_sense_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(wrong)
    assert wrong[0] in capsys.readouterr().err or "unknown attack" in capsys.readouterr().err

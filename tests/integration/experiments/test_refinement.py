import random
from pathlib import Path

import numpy as np
import pytest
from tests.learner_models import one_thread_inside_operations

from thumbwheel_demo.corpus.prompts import prompts
from thumbwheel_demo.experiments.refinement.__main__ import findings, run_cell
from thumbwheel_demo.experiments.refinement.desk import WORDS, Cell, Plan, complaint, exchanged
from thumbwheel_demo.report.intervals import nested_interval
from thumbwheel_demo.satisfaction import Satisfaction
from thumbwheel_learner.refinement.requests import Request

SMALL = Plan(chats=130, corrections=0.7, critiques=0.9, heldout=6, answers=1)


def test_a_tiny_run_measures_every_arm_and_is_not_made_twice(tmp_path: Path) -> None:
    said: list[str] = []
    with one_thread_inside_operations():
        cell = run_cell(101, SMALL, tmp_path, said.append)
    again = run_cell(101, SMALL, tmp_path, said.append)
    assert again == cell
    assert len(said) == 1
    assert cell.taught >= 20
    assert {len(answers) for answers in cell.rewritten.values()} == {len(cell.rewritten["refined"])}
    assert 0 < len(cell.rewritten["refined"]) <= cell.asked
    assert cell.kept_satisfied <= cell.kept <= len(cell.rewritten["refined"])
    assert all(len(shares) == SMALL.heldout for shares in cell.heldout.values())


def _cell(seed: int, refined: list[bool]) -> Cell:
    count = len(refined)
    return Cell(
        seed=seed,
        plan=SMALL,
        taught=20,
        asked=count,
        kept=2,
        kept_satisfied=1,
        rewritten={"SFT on corrections": [False] * count, "refined": refined},
        heldout={"SFT on corrections": [0.5, 0.0], "and refined": [1.0, 0.5]},
    )


def test_what_is_better_in_every_seed_is_shown_to_be() -> None:
    found = findings([_cell(seed, [True, True, False, True]) for seed in (1, 2, 3)], SMALL)
    assert found.over_corrections.low > 0
    assert found.added.mean == pytest.approx(0.5)
    assert found.kept.mean == pytest.approx(0.5)
    assert findings([_cell(1, [False] * 4)], SMALL).over_corrections.high == 0


def test_the_interval_knows_of_differences_between_seeds() -> None:
    alike = nested_interval([np.array([0.0, 1.0] * 50)] * 4)
    apart = nested_interval([np.zeros(100), np.ones(100)] * 2)
    assert alike.mean == apart.mean == 0.5
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


def test_a_customer_complains_of_what_is_wrong_and_of_nothing_else() -> None:
    fine = dict.fromkeys(("solved", "kind", "brief", "honest", "polite", "complete"), True)
    assert complaint(Satisfaction(**fine), random.Random(1)) == ""
    assert complaint(Satisfaction(**fine | {"brief": False}), random.Random(2)) in WORDS["brief"]
    two = complaint(Satisfaction(**fine | {"polite": False, "honest": False}), random.Random(3))
    assert two.count(".") == 2


def test_exchanged_critiques_are_the_same_ones_elsewhere() -> None:
    requests = [
        Request(messages=[], answer=s.id, critique=str(n), user="u", conversation_id=s.id, created_ms=n)
        for n, s in enumerate(prompts("live", 8, 1))
    ]
    others = exchanged(requests, 3)
    assert sorted(r.critique for r in others) == sorted(r.critique for r in requests)
    assert [r.answer for r in others] == [r.answer for r in requests]
    assert others != requests

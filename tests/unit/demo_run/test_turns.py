import json
from pathlib import Path

import pytest

from thumbwheel_demo.experiments.turns.__main__ import main
from thumbwheel_demo.experiments.turns.falls import chance_of_fall, holm, turns_of
from thumbwheel_demo.report.record import Report, write_json

from .reports import report, version

PROMPTS = [f"p{i}" for i in range(60)]
SAME = dict.fromkeys(PROMPTS, 0.5)


def share(satisfied: int) -> dict[str, float]:
    return {p: float(i < satisfied) for i, p in enumerate(PROMPTS)}


def run_of(*satisfied: int, diversity: bool = True, seed: int = 1) -> Report:
    names = [f"v{n}" for n in range(len(satisfied))]
    told = dict.fromkeys(names, SAME) if diversity else {}
    return report(
        settings={"seed": seed},
        versions=[version(name, n / 60) for name, n in zip(names, satisfied, strict=True)],
        prompts={name: share(n) for name, n in zip(names, satisfied, strict=True)},
        distinct_answers=told,
        distinct_bigrams=dict(told),
        distinct_good_answers=dict(told),
        distinct_good_bigrams=dict(told),
    )


def test_rising_versions_never_fell():
    found = turns_of({1: run_of(20, 30, 40), 2: run_of(20, 21, 50)})
    assert found.passed
    assert found.fell == found.below_level_alone == 0
    assert found.tests == 2 * 2 * 3
    assert len(found.steps) == 2 * 2 * 5
    assert found.first["satisfaction"] == pytest.approx([1 / 3, 1 / 3])
    assert found.last["satisfaction"] == pytest.approx([2 / 3, 5 / 6])


def test_a_deep_fall_is_found_among_many_steps():
    found = turns_of({1: run_of(20, 40, 20, 30, 40)})
    assert not found.passed
    fallen = [step for step in found.steps if step.fell]
    assert [(s.before, s.after, s.measure) for s in fallen] == [("v1", "v2", "satisfaction")]
    assert fallen[0].change.mean == pytest.approx(-1 / 3)
    assert fallen[0].change.high < 0


def test_a_fall_that_many_tests_explain_is_told_and_not_held_against_the_run():
    found = turns_of({1: run_of(20, 40, 35, 45)})
    step = next(s for s in found.steps if (s.before, s.measure) == ("v1", "satisfaction"))
    assert step.p == pytest.approx(2**-5, abs=0.005)
    assert step.p_of_all > 0.05
    assert found.below_level_alone == 1
    assert found.passed


def test_only_what_satisfies_has_to_stay_diverse_and_is_compared_where_both_versions_have_it():
    run = run_of(20, 30)
    less = dict.fromkeys(PROMPTS, 0.3)
    run.distinct_bigrams["v1"] = run.distinct_answers["v1"] = less
    run.distinct_good_bigrams["v0"] = dict.fromkeys(PROMPTS[:20], 0.5)
    found = turns_of({1: run})
    assert {s.measure for s in found.steps if s.fell} == {"different", "distinct-2"}
    assert found.passed
    for deciding, name in (
        (run.distinct_good_bigrams, "distinct-2, satisfying"),
        (run.distinct_good_answers, "different, satisfying"),
    ):
        before, deciding["v1"] = deciding["v1"], less
        found = turns_of({1: run})
        assert {s.measure for s in found.steps if s.fell} == {"different", "distinct-2", name}
        assert not found.passed
        deciding["v1"] = before


def test_what_was_not_measured_does_not_pass():
    found = turns_of({1: run_of(20, 30), 2: run_of(20, 30, diversity=False)})
    assert found.unmeasured == ["different, satisfying", "distinct-2, satisfying", "different", "distinct-2"]
    assert {s.measure for s in found.steps} == {"satisfaction"}
    assert not found.passed
    with pytest.raises(ValueError, match="no reports"):
        turns_of({})


def test_chance_is_that_of_signs_flipped_at_random():
    assert chance_of_fall([0.0, 0.0]) == 1.0
    assert chance_of_fall([-1.0] * 4 + [0.0] * 9) == pytest.approx(1 / 16, abs=0.01)
    assert chance_of_fall([1.0] * 4) == pytest.approx(1.0)
    assert chance_of_fall([-1.0, 1.0]) == pytest.approx(0.75, abs=0.02)


def test_holms_correction_is_that_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_reports_are_read_and_the_status_says_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_json(tmp_path / "good.json", run_of(20, 30, 40))
    write_json(tmp_path / "bad.json", run_of(20, 40, 10, seed=7))
    good, bad = str(tmp_path / "good.json"), str(tmp_path / "bad.json")
    assert main(["--out", str(tmp_path / "one"), "--reports", good]) == 0
    assert main(["--out", str(tmp_path / "two"), "--reports", good, bad]) == 1
    assert "FELL" in capsys.readouterr().out
    assert json.loads((tmp_path / "two" / "turns.json").read_text())["seeds"] == [1, 7]
    assert "<svg" in (tmp_path / "two" / "turns.svg").read_text()

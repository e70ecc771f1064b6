from collections.abc import Sequence

import pytest

from thumbwheel_demo.experiments.__main__ import experiments, main


def test_every_experiment_says_what_it_is_about() -> None:
    known = experiments()
    assert {"wheel", "gate", "poisoning", "overoptimisation", "policy_training"} <= known.keys()
    assert all(len(text) > 20 for text in known.values()), known


def test_all_run_in_turn_and_the_worst_outcome_counts(capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []

    def run(name: str, passed: Sequence[str]) -> int:
        ran.append(name)
        return 1 if name == "gate" else 0

    assert main([], run) == 1
    assert ran == list(experiments())
    assert "a bar is missed" in capsys.readouterr().out
    assert main(["poisoning"], run) == 0


def test_options_go_to_the_one_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    passed: list[tuple[str, Sequence[str]]] = []
    assert main(["gate", "--", "--seeds", "3"], lambda name, options: passed.append((name, options)) or 0) == 0
    assert passed == [("gate", ["--seeds", "3"])]
    with pytest.raises(SystemExit):
        main(["gate", "poisoning", "--", "--seeds", "3"], lambda *_: 0)
    assert "name it" in capsys.readouterr().err


def test_an_unknown_one_is_refused_with_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["gates"], lambda *_: 0)
    assert "'gates'; there are active_learning" in capsys.readouterr().err


def test_one_that_does_not_run_is_told_apart_from_a_missed_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate"], lambda *_: 2) == 1
    assert "did not run (exit status 2)" in capsys.readouterr().out

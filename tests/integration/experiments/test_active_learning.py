import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.integration.experiments.real_preferences import write_preferences
from tests.learner_models import make_base, one_thread_inside_operations

from thumbwheel_demo.experiments.active_learning import __main__ as active_learning
from thumbwheel_demo.experiments.active_learning.__main__ import main
from thumbwheel_demo.experiments.active_learning.banks import DeskBank, RealBank
from thumbwheel_demo.experiments.active_learning.judged_answers import LIKELIHOODS, FrozenPolicy, JudgedAnswers
from thumbwheel_demo.experiments.active_learning.label_curves import ARMS, Arm, Plan, Simulation
from thumbwheel_demo.experiments.active_learning.label_savings import (
    best_choice,
    best_random,
    isotonic,
    labels_to_reach,
    savings,
)
from thumbwheel_demo.experiments.active_learning.linear_reward import Basis, fit

TINY = "--bank 20 --held-out-bank 10 --conversations 16 --held-out 8 --labels 8 --batch 4".split()
TINY += ["--seeds", "1,2", "--choosing", "3"]


def linear_desk(count: int, seed: int, signal: int = 2) -> JudgedAnswers:
    """Two answers per conversation; what customers think is linear in one of six features."""
    features = np.random.default_rng(seed).normal(size=(2 * count, 6))
    scores = 1 / (1 + np.exp(-2 * features[:, signal]))
    return JudgedAnswers(np.repeat(np.arange(count), 2), features, scores, scores > 0.5)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preferences(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("experiment")
    main([*TINY, "--out", str(out)])
    return out


def test_a_tiny_run_measures_every_arm_on_seeds_it_was_not_chosen_on(made: Path) -> None:
    found = json.loads((made / "active_learning.json").read_text())
    assert not found["passed"]
    assert found["choosing"]["seeds"] == [3]
    assert found["measured"]["seeds"] == [1, 2]
    assert found["measured"]["labels"] == [4, 8, 12, 16]
    assert [arm["arm"] for arm in found["measured"]["arms"]] == [arm.name for arm in ARMS]
    for arm in found["measured"]["arms"]:
        assert all(0 <= value <= 1 for value in arm["accuracy"])
        assert 0 < arm["ratio"]["low"] <= arm["ratio"]["high"] <= 4
    assert found["chosen"] in {arm.name for arm in ARMS if arm.acquisition != "random"}


def test_finished_seeds_are_not_run_again(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in made.glob("seed-*.json")}
    assert sorted(before) == ["seed-1.json", "seed-2.json", "seed-3.json"]
    assert main([*TINY, "--out", str(made)]) == 1
    assert {file.name: file.stat().st_mtime_ns for file in made.glob("seed-*.json")} == before
    printed = capsys.readouterr().out
    assert "3 of 3 seeds are already there" in printed
    assert "chosen on seeds [3]" in printed


def test_a_seed_made_with_another_plan_does_not_count(made: Path) -> None:
    said: list[str] = []
    plan = Plan(bank=20, held_out_bank=10, conversations=12, held_out=8, labels=4, batch=4)
    before = (made / "seed-2.json").read_bytes()
    opened = partial(active_learning.bank, plan, None, made, made, said.append)
    found = active_learning.run_all([2], plan, made, opened, said.append)
    assert [line.split(":")[0] for line in said] == ["seed 2"]
    assert len(found[2].curves["random, answers"]) == 2
    assert (made / "seed-2.json").read_bytes() != before


def test_a_seed_draws_whole_conversations() -> None:
    desk = linear_desk(50, 1)
    drawn = desk.some(10, np.random.default_rng(0))
    assert len(set(drawn.conversations.tolist())) == 10
    assert len(drawn.scores) == len(drawn.pairs()) * 2 == 20
    rows = [i for i, c in enumerate(desk.conversations) if c in drawn.conversations]
    assert drawn.features.tolist() == desk.features[rows].tolist()


def test_a_reward_reads_how_likely_answers_are_only_where_the_plan_says_so() -> None:
    desk = DeskBank(linear_desk(20, 1), linear_desk(20, 2))
    widths = [
        (len(drawn.pool.features.T), len(drawn.held_out.features.T), drawn.plain)
        for likelihood in (True, False)
        for drawn in [desk.draw(Plan(likelihood=likelihood), np.random.default_rng(0))]
    ]
    assert widths == [(6, 6, LIKELIHOODS), (6 - LIKELIHOODS, 6 - LIKELIHOODS, 0)]


def test_what_was_asked_alike_is_not_both_asked_about_and_measured_on() -> None:
    clusters = np.repeat(np.arange(20), 3)
    real = RealBank(linear_desk(60, 1), clusters, 0, ARMS)
    drawn = real.draw(Plan(), np.random.default_rng(0))
    assert len(drawn.pool.scores) == 2 * len(set(drawn.pool.conversations.tolist()))
    assert len(real.draw(Plan(answers=1), np.random.default_rng(0)).pool.scores) == len(drawn.pool.scores) // 2
    sides = [set(clusters[np.unique(side.conversations)].tolist()) for side in (drawn.pool, drawn.held_out)]
    assert not sides[0] & sides[1]
    assert (len(sides[0]), len(sides[1])) == (15, 5)


def test_real_preferences_are_asked_about_as_they_can_be(real: Path, tmp_path: Path) -> None:
    model = make_base(tmp_path / "base", architecture="gemma3")
    few = ["--labels", "8", "--batch", "4", "--seeds", "1", "--choosing", "2", "--no-states", "--out", str(tmp_path)]
    for data in ("human_pairs", "judged_responses"):
        with one_thread_inside_operations():
            assert main([*few, "--data", data, "--folder", str(real), "--model", str(model)]) in (0, 1)
    pairs, judged = (
        json.loads((tmp_path / data / "active_learning.json").read_text())
        for data in ("human_pairs", "judged_responses")
    )
    assert [a["arm"] for a in pairs["measured"]["arms"]] == [arm.name for arm in ARMS if arm.asks == "pairs"]
    assert [a["arm"] for a in judged["measured"]["arms"]] == [arm.name for arm in ARMS]
    assert judged["plan"]["noise"] == 0


def test_answers_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    desk = linear_desk(5, 1)
    desk.save(tmp_path / "folder" / "answers.npz")
    again = JudgedAnswers.load(tmp_path / "folder" / "answers.npz")
    assert again.features == pytest.approx(desk.features, abs=1e-6)
    assert again.scores.tolist() == desk.scores.tolist()
    assert again.satisfied.tolist() == desk.satisfied.tolist()
    assert again.conversations.tolist() == desk.conversations.tolist()
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["answers.npz"]


@pytest.mark.parametrize(
    "options",
    [
        ["--batch", "3"],
        ["--labels", "35"],
        ["--data", "human_pairs"],
        ["--seeds", "1", "--choosing", "1"],
        ["--seeds", "1,1"],
    ],
)
def test_options_that_make_no_sense_are_refused(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([*options, "--out", str(tmp_path)])


def test_the_policy_answers_the_same_for_the_same_seed() -> None:
    policy = FrozenPolicy()
    one, same, other = (policy.answers("live", 3, 2, seed) for seed in (1, 1, 2))
    assert np.allclose(one.features, same.features, atol=1e-5)
    assert one.scores.tolist() == same.scores.tolist()
    assert one.features.shape == other.features.shape == (6, 4 * policy.model.hidden_size + 2)
    assert not np.allclose(one.features, other.features)
    assert one.pairs().tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("plain", [0, 2])
def test_a_linear_desk_is_learned_from_either_kind_of_question(plain: int) -> None:
    plan = Plan(batch=40, labels=200, width=6, prior=1.0, noise=0.0)
    simulation = Simulation(linear_desk(400, 1), linear_desk(200, 2), plan, 1, plain)
    for arm in ARMS:
        curve = simulation.curve(arm)
        assert len(curve) == len(plan.grid) == 10
        assert curve[-1] > 0.93
        assert curve == simulation.curve(arm)


def test_a_pair_costs_two_labels_and_nothing_is_asked_twice() -> None:
    plan = Plan(batch=10, labels=40)
    simulation = Simulation(linear_desk(100, 1), linear_desk(20, 2), plan, seed=1)
    asked: list[int] = []
    for step in range(4):
        asked += simulation.choose(
            Arm("bald", "pairs"), asked, None, plan.grid[step], step, np.random.default_rng(step)
        )
    assert len(asked) == len(set(asked)) == 20


def test_noise_turns_over_its_share_of_the_judgements() -> None:
    told = linear_desk(2000, 1)
    simulation = Simulation(told, linear_desk(20, 2), Plan(noise=0.1), seed=1)
    assert np.mean(simulation.questions["answers"].labels != told.satisfied) == pytest.approx(0.1, abs=0.02)
    first = told.scores[0::2] > told.scores[1::2]
    assert np.mean(simulation.questions["pairs"].labels != first) == pytest.approx(0.1, abs=0.02)


def test_the_fit_is_where_the_gradient_is_nothing() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), (rng.random(60) < 0.5).astype(float)
    reward = fit(x, y, prior=2.0)
    chances = 1 / (1 + np.exp(-x @ reward.mean))
    assert x.T @ (y - chances) == pytest.approx(2.0 * reward.mean, abs=1e-5)
    members = reward.members(20_000, rng)
    assert np.cov(members.T) == pytest.approx(np.linalg.inv(reward.precision), abs=0.02)


def test_a_basis_keeps_the_largest_components_at_a_mean_square_of_one() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(500, 2))
    features = hidden @ rng.normal(size=(2, 8)) * 50 + 7
    reduced = Basis.of(features, 2).apply(features)
    assert reduced.shape == (500, 3)
    plain = Basis.of(features, 2, plain=1).apply(features)
    assert plain.shape == (500, 4)
    assert plain[:, 0].std() == pytest.approx(3.0, rel=0.01)
    assert np.square(reduced[:, :2]).mean() == pytest.approx(1.0, rel=1e-3)
    assert reduced[:, 2].tolist() == [1.0] * 500


def test_smoothing_pools_neighbours_that_fall() -> None:
    assert isotonic(np.array([1.0, 3.0, 2.0, 4.0, 0.0])).tolist() == [1.0, 2.25, 2.25, 2.25, 2.25]
    assert isotonic(np.array([0.1, 0.2, 0.3])).tolist() == [0.1, 0.2, 0.3]


def test_the_labels_that_an_accuracy_takes_lie_between_the_grids_points_in_proportion() -> None:
    grid, curve = [10, 20, 30], np.array([0.5, 0.6, 0.8])
    assert [labels_to_reach(t, grid, curve) for t in (0.4, 0.6, 0.7, 0.9)] == pytest.approx([10, 20, 25, 30])


def test_savings_compare_with_random_choice_at_the_plans_labels() -> None:
    plan = Plan(batch=2, labels=4)
    curves = {
        "random, answers": [[0.5, 0.6, 0.65, 0.7]] * 3,
        "random, pairs": [[0.5, 0.55, 0.6, 0.65]] * 3,
        "bald, answers": [[0.5, 0.7, 0.8, 0.9]] * 3,
        "entropy, answers": [[0.4, 0.4, 0.4, 0.5]] * 3,
    }
    found = savings(curves, [1, 2, 3], plan, best_random(curves, plan))
    by_arm = {arm.arm: arm for arm in found.arms}
    assert found.baseline == "random, answers"
    assert found.rising.mean == pytest.approx(0.1)
    assert by_arm["random, answers"].ratio.mean == pytest.approx(1.0)
    assert by_arm["bald, answers"].ratio.mean == pytest.approx(3 / 4)
    assert by_arm["bald, answers"].gain.mean == pytest.approx(0.1)
    assert by_arm["entropy, answers"].ratio.mean == 2.0
    assert best_choice(found) == "bald, answers"

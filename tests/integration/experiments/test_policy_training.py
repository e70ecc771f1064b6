import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.learner_models import make_base, pair, snapshot, thumb

from thumbwheel_demo.experiments.policy_training.__main__ import main
from thumbwheel_demo.experiments.policy_training.arms import Cell, best_of, kl_between, scores_of
from thumbwheel_demo.experiments.policy_training.dpo import DpoConfig, dpo_loss, train_dpo
from thumbwheel_demo.experiments.policy_training.pairs import corrected, ranked, told_apart
from thumbwheel_demo.experiments.policy_training.report import summary
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.reward.model import RewardScores
from thumbwheel_learner.rollouts.engine import Rollout

PAIRS = [pair(n, f"where is my order {w}", "sorry the refund is now", "no") for n, w in enumerate(("late", "now"))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base"), scale=1.0))


@pytest.fixture
def start(model: PolicyModel, tmp_path: Path) -> Path:
    model.start("start", None, LoraConfig(4, 8))
    return model.save("start", tmp_path / "start")


def said(text: str, *, finished: bool = True) -> Rollout:
    return Rollout([len(text), 1], [-1.0, -1.0], finished, text)


class LongerIsBetter:
    """A reward with two members, who agree on short answers only."""

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        members = torch.tensor([[float(len(a)), float(len(a)) ** 2 / 4] for a in answers])
        return RewardScores(members.mean(1), members.std(1, correction=0), members)

    def identity(self) -> str:
        return "longer"


def test_dpo_prefers_what_people_chose_and_moves_away_from_its_start(
    model: PolicyModel, start: Path, tmp_path: Path
) -> None:
    pairs = corrected(snapshot(pairs=PAIRS), model.tokens)
    config = DpoConfig(epochs=20, learning_rate=1e-2)
    report = train_dpo(model, start, pairs, config, tmp_path / "dpo")
    assert report.pairs == 2
    assert report.accuracy == 1.0
    assert report.loss < 0.5 * math.log(2)
    asked, answers = [p.chosen.prompt for p in pairs], [p.chosen.answer for p in pairs]
    assert kl_between(model, start, start, asked, answers) == pytest.approx(0.0, abs=1e-5)
    assert kl_between(model, tmp_path / "dpo", start, asked, answers) > 0.1
    with pytest.raises(ValueError, match="no pairs"):
        train_dpo(model, start, [], config, tmp_path / "none")


def test_the_loss_of_dpo_is_log_2_at_its_start_and_falls_with_the_margin() -> None:
    assert dpo_loss(torch.zeros(3), 0.1).item() == pytest.approx(math.log(2))
    expected = (math.log1p(math.exp(-0.2)) + math.log1p(math.exp(0.2))) / 2
    assert dpo_loss(torch.tensor([2.0, -2.0]), 0.1).item() == pytest.approx(expected)


def test_votes_make_pairs_only_where_one_prompt_had_answers_liked_and_disliked(model: PolicyModel) -> None:
    votes = [
        thumb(1, "where is my order", "sorry", up=True),
        thumb(2, "where is my order", "rude", up=False),
        thumb(3, "where is my order", "sorry", up=False),
        thumb(4, "is the refund late", "no", up=False),
    ]
    found = told_apart(snapshot(judged=votes), model.tokens)
    assert [(p.chosen.answer, p.rejected.answer) for p in found] == [
        (model.tokens.answer_ids("sorry"), model.tokens.answer_ids("rude"))
    ]


def test_sampled_pairs_are_the_best_over_the_worst_of_finished_answers() -> None:
    answers = [
        [said("aa"), said("a"), said("aaaa"), said("aaaaaa", finished=False)],
        [said("b"), said("b"), said("b"), said("b")],
    ]
    scores = torch.tensor([[2.0, 1.0, 4.0, 9.0], [1.0, 1.0, 1.0, 1.0]])
    (found,) = ranked([[7], [8]], answers, scores)
    assert (found.chosen.prompt, found.chosen.answer, found.rejected.answer) == ([7], [4, 1], [1, 1])


def test_best_of_n_picks_by_what_ppo_maximises() -> None:
    row = [said("a"), said("aaa"), said("aaaaaaaaa"), said("aaaaaaaaaa", finished=False)]
    config = PpoConfig(pessimism=0.0, missing_end_penalty=0.0)
    picked = best_of(LongerIsBetter(), [[7]], [row], 2, config)
    assert [r.text for r in picked[0]] == ["aaa", "aaaaaaaaaa"]
    punished = best_of(LongerIsBetter(), [[7]], [row], 2, PpoConfig(pessimism=0.0, missing_end_penalty=2.0))
    assert [r.text for r in punished[0]] == ["aaa", "aaaaaaaaa"]
    doubtful = best_of(LongerIsBetter(), [[7]], [row], 4, PpoConfig(pessimism=3.0))
    assert [r.text for r in doubtful[0]] == ["aaa"]
    scores = scores_of(LongerIsBetter(), [[7]], [row], config)
    assert scores.mean().item() == pytest.approx(0.0, abs=1e-5)


def cell(arm: str, seed: int, satisfied: float) -> Cell:
    by_prompt = {f"p{n}": satisfied + 0.1 * (n % 3 - 1) for n in range(30)}
    return Cell(
        arm=arm,
        seed=seed,
        settings={"best_of": 4},
        answers={},
        satisfied=by_prompt,
        distinct_answers=by_prompt,
        distinct_bigrams=by_prompt,
        distinct_good_bigrams={p: share for p, share in by_prompt.items() if share > 0.45},
        reward=0.0,
        kl=None,
        words=9.0,
        missing_end=0.0,
        training={},
        train_s=1.0,
        measure_s=1.0,
    )


@pytest.mark.parametrize(("best", "passed"), [(0.5, True), (0.6, False), (0.7, False)])
def test_the_bar_is_met_only_above_both_baselines(best: float, passed: bool) -> None:
    cells = [cell(*of) for s in (1, 2) for of in (("sft", s, 0.4), ("best-of-n", s, best), ("ppo", s, 0.6))]
    found = summary(cells)
    assert found.passed is passed
    over = {(c.arm, c.over): c.satisfied for c in found.contrasts}
    assert over["ppo", "sft"].mean == pytest.approx(0.2)
    assert over["ppo", "best-of-n"].mean == pytest.approx(0.6 - best)
    good = {(c.arm, c.over): c.good_bigrams_by_seed for c in found.contrasts}
    assert good["ppo", "sft"] == pytest.approx([0.2, 0.2]), "on the prompts that both have"
    assert found.arms["sft"].distinct_good_bigrams == pytest.approx(0.5)
    assert summary([c for c in cells if c.arm != "best-of-n"]).passed is False


def test_an_arm_without_two_good_answers_to_any_prompt_tells_nothing_of_their_diversity() -> None:
    found = summary([cell("sft", 1, 0.2), cell("ppo", 1, 0.6)])
    assert math.isnan(found.arms["sft"].distinct_good_bigrams)
    assert math.isnan(found.contrasts[0].good_bigrams_by_seed[0])


def test_the_experiment_runs_tiny_and_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--seeds", "1", "--temperature", "1", "--chats", "60", "--prompts", "4", "--answers", "2", "--best-of", "2"]
    tiny += ["--out", str(tmp_path)]
    assert main([*tiny, "--arms", "base,sft,best-of-n"]) == 1
    assert "reward AUC" in capsys.readouterr().out
    assert main([*tiny, "--arms", "base,sft,best-of-n,ppo,dpo"]) in (0, 1)
    again = capsys.readouterr().out
    assert again.count("already there") == 3
    assert "seed 1, ppo" in again
    found: dict[str, Any] = json.loads((tmp_path / "policy_training.json").read_text())
    assert set(found["arms"]) == {"base", "sft", "best-of-n", "ppo", "dpo"}
    assert found["arms"]["sft"]["kl"] == pytest.approx(0.0, abs=1e-4)
    assert found["arms"]["ppo"]["kl"] > 0
    assert found["arms"]["best-of-n"]["reward"] > found["arms"]["sft"]["reward"]
    assert "<svg" in (tmp_path / "policy_training.svg").read_text()
    before = (tmp_path / "policy_training.json").read_bytes()
    main([*tiny, "--arms", "base,sft,best-of-n,ppo,dpo"])
    assert "reward AUC" not in capsys.readouterr().out
    assert (tmp_path / "policy_training.json").read_bytes() == before


@pytest.mark.parametrize("wrong", [["--seeds", "one"], ["--arms", "ppo,luck"], ["--best-of", "1"]])
def test_bad_options_are_told(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(wrong)
    assert wrong[0].strip("-") in capsys.readouterr().err

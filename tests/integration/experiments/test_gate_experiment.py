import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.learner_models import logged, make_base, snapshot, thumb
from tests.learner_ppo import LikesWord

from thumbwheel_demo.corpus import answer, prompts
from thumbwheel_demo.experiments.chats import snapshot_of
from thumbwheel_demo.experiments.gate.__main__ import main
from thumbwheel_demo.experiments.gate.candidates import (
    OutOfReach,
    PooledEngine,
    Remembered,
    kl_to_live,
    satisfaction,
    tilted,
)
from thumbwheel_demo.experiments.gate.desk import Desk, Pool
from thumbwheel_demo.experiments.gate.trained import Negated, negated_policy, try_negated
from thumbwheel_demo.experiments.gate.trials import Trial, Trials, figures, planned
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.reward.labels import Evidence
from thumbwheel_learner.reward.model import RewardScores
from thumbwheel_learner.rollouts.engine import Rollout

SATISFIED = np.random.default_rng(0).random((300, 4)) < 0.5


@pytest.mark.parametrize("gain", [0.0, 0.1, -0.2])
def test_a_tilted_policy_satisfies_exactly_as_many_as_wanted(gain: float) -> None:
    chances = tilted(SATISFIED, gain)
    assert np.allclose(chances.sum(axis=1), 1.0)
    assert satisfaction(SATISFIED, chances) == pytest.approx(SATISFIED.mean() + gain, abs=1e-6)
    assert (kl_to_live(chances) > 0.01) == (gain != 0)


def test_what_no_choice_among_the_answers_can_do_is_an_error() -> None:
    with pytest.raises(OutOfReach, match="satisfies 110%"):
        tilted(np.ones((5, 2), dtype=bool), 0.1)


def test_the_engine_draws_by_the_chances_and_for_each_adapter_anew() -> None:
    answers = [[Rollout([n, k], [-1.0, -1.0], True, f"{n} {k}") for k in range(4)] for n in range(300)]
    answers += [[Rollout([9], [-1.0], True, f"safe {k}") for k in range(4)]]
    pool = Pool({(n,): n for n in range(301)}, answers, SATISFIED)
    engine = PooledEngine(pool, {"better": tilted(SATISFIED, 0.1), "identical": tilted(SATISFIED, 0.0)})
    asked = [[n] for n in range(300)]
    how = {"n": 50, "max_tokens": 9, "temperature": 1.0}

    def share(sampled: list[list[Rollout]]) -> float:
        return float(np.mean([SATISFIED[r.token_ids[0], r.token_ids[1]] for row in sampled for r in row]))

    live = engine.sample(None, asked, seed=3, **how)
    same = engine.sample(Path("identical"), asked, seed=3, **how)
    better = engine.sample(Path("better"), asked, seed=3, **how)
    assert live != same
    assert live == engine.sample(None, asked, seed=3, **how)
    assert live != engine.sample(None, asked, seed=4, **how)
    for adapter in (None, Path("better")):
        [row] = engine.sample(adapter, [[300]], seed=3, **how)
        assert {r.text for r in row} == {f"safe {k}" for k in range(4)}, "a safety prompt has no customer"
    assert share(same) == pytest.approx(share(live), abs=0.02)
    assert share(better) == pytest.approx(share(live) + 0.1, abs=0.02)


class Counts:
    """A judge's model that scores by length, and counts what it reads."""

    def __init__(self) -> None:
        self.read = 0

    def score(self, prompts, answers) -> RewardScores:
        self.read += len(answers)
        members = torch.tensor([[float(len(p)), float(len(a))] for p, a in zip(prompts, answers, strict=True)])
        return RewardScores(members.mean(1), members.std(1, correction=0), members)


def test_every_answer_is_read_once_and_scored_as_before() -> None:
    inner = Counts()
    remembered = Remembered(inner)
    asked, said = [[1], [1, 2], [1]], ["a", "bb", "a"]
    first = remembered.score(asked, said)
    assert inner.read == 2
    again = remembered.score([*asked, [7]], [*said, "cccc"])
    assert inner.read == 3
    assert torch.equal(again.members[:3], first.members)
    assert torch.equal(again.members, Counts().score([*asked, [7]], [*said, "cccc"]).members)


def test_the_desk_logs_every_chat_and_labels_follow_satisfaction_with_noise() -> None:
    scenarios = prompts("live", 400, 5)
    rng = random.Random(1)
    good = [n % 2 == 0 for n in range(400)]
    said = [
        Rollout([1], [-1.0], True, answer(s, "kind" if g else "rude", rng))
        for s, g in zip(scenarios, good, strict=True)
    ]
    frozen = snapshot_of(scenarios, said, [[n] for n in range(400)], PeopleSettings(seed=1))
    assert [p.prompt_token_ids for p in frozen.prompts] == [[n] for n in range(400)]
    liked = {j.conversation_id: j.value for j in frozen.judged}
    agree = [liked[s.id] == g for s, g in zip(scenarios, good, strict=True) if s.id in liked]
    assert 100 < len(agree) < 240
    assert 0.8 < np.mean(agree) < 0.98
    assert 5 < len(frozen.pairs) == len(frozen.demos) < 40
    assert frozen == snapshot_of(scenarios, said, [[n] for n in range(400)], PeopleSettings(seed=1))


def test_a_candidate_learns_from_a_reward_turned_round_and_comes_before_the_gate(tmp_path: Path) -> None:
    model = load_policy(make_base(tmp_path / "base", scale=1.0))
    words = ("order", "refund", "late", "my")
    judged = [thumb(n, words[n % 4], ("please", "rude")[n % 2], up=n % 2 == 0) for n in range(80)]
    practice = [logged(n, f"{words[n % 4]} {words[n // 4 % 4]}") for n in range(16)]
    scenarios = prompts("live", 16, 1)
    asked = {tuple(model.tokens.prompt_ids(p.messages)): s for p, s in zip(practice, scenarios, strict=True)}
    training, held_out = snapshot(judged=judged, prompts=practice), snapshot(prompts=practice)
    desk = Desk(Evidence(training, held_out, ()), None, Pool({}, [], SATISFIED), asked)
    adapter, kl = negated_policy(model, desk, 1, tmp_path / "seed")
    again, same = negated_policy(model, desk, 1, tmp_path / "seed")
    assert (again, same) == (adapter, kl)
    assert kl > 0
    tried = try_negated(model, desk, 1, GateConfig(min_prompts=4, max_tokens=4), tmp_path / "seed")
    assert not tried.verdict.accepted
    assert tried.kl == kl
    assert all(0 <= share <= 1 for share in tried.satisfied)


def test_praise_turned_round_is_blame() -> None:
    turned = Negated(LikesWord("a")).score([[1], [1]], ["a", "b"])
    assert turned.mean.tolist() == [-1.0, 0.0]
    assert Negated(LikesWord("a")).identity() != LikesWord("a").identity()


def trial(kind: str, number: int, *, accepted: bool, seed: int = 1, options: dict[str, int] | None = None) -> Trial:
    win_rate = {"mean": 0.5 + number / 100, "low": 0.49, "high": 0.6, "n": 9}
    return Trial(
        seed=seed,
        kind=kind,
        number=number,
        options=options or {"chats": 9},
        accepted=accepted,
        reasons=[],
        true_win_rate=0.5,
        satisfied=(0.5, 0.5),
        kl=0.0,
        verdict={"win_rate": win_rate},
    )


def test_trials_of_other_options_and_a_torn_line_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "trials.jsonl"
    kept = Trials(file, {"chats": 9})
    kept.add(trial("better", 0, accepted=True))
    kept.add(trial("better", 1, accepted=True, options={"chats": 8}))
    with file.open("ab") as torn:
        torn.write(b'{"seed": 1, "kind"')
    again = Trials(file, {"chats": 9})
    assert set(again.done) == {(1, "better", 0)}
    again.add(trial("identical", 0, accepted=False))
    assert set(Trials(file, {"chats": 9}).done) == {(1, "better", 0), (1, "identical", 0)}


def test_candidates_are_dealt_out_over_the_seeds() -> None:
    dealt = planned(5, (7, 8))
    assert dealt == [(7, 0), (8, 0), (7, 1), (8, 1), (7, 2)]
    assert set(planned(2, (8,))) == {which for which in dealt if which[0] == 8}


def test_figures_hold_each_kind_to_its_bar() -> None:
    trials = [trial("identical", n, accepted=n == 0) for n in range(10)]
    trials += [trial("better", n, accepted=n < 8, seed=n % 2) for n in range(10)]
    identical, better = figures(trials)
    assert (identical.kind, identical.accepted.mean, identical.met) == ("identical", 0.1, False)
    assert (better.kind, better.accepted.mean, better.met) == ("better", 0.8, True)
    assert better.accepted.low < 0.5 < 0.9 < better.accepted.high
    assert better.by_seed == {0: 0.8, 1: 0.8}
    assert better.win_rate == pytest.approx(0.545)


def test_the_experiment_runs_tiny_and_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--seeds", "1", "--chats", "240", "--answers", "3", "--prompts", "60", "--out", str(tmp_path)]
    assert main([*tiny, "--candidates", "1"]) in (0, 1)
    first = capsys.readouterr().out
    assert "judge trained" in first
    found = json.loads((tmp_path / "gate.json").read_text())
    by_kind = {kind["kind"]: kind for kind in found["kinds"]}
    assert set(by_kind) == {"identical", "negated", "better"}
    assert by_kind["negated"]["accepted"]["mean"] == 0.0
    assert by_kind["negated"]["win_rate"] < by_kind["better"]["win_rate"]
    assert by_kind["better"]["true_win_rate"] == pytest.approx(0.55)
    lines = (tmp_path / "trials.jsonl").read_bytes()
    main([*tiny, "--candidates", "1"])
    assert "judge trained" not in capsys.readouterr().out
    assert (tmp_path / "trials.jsonl").read_bytes() == lines


@pytest.mark.parametrize("wrong", [["--seeds", "one"], ["--candidates", "0"], ["--answers", "1"]])
def test_bad_options_are_told(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(wrong)
    assert wrong[0] in capsys.readouterr().err

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from tests.learner_models import logged, make_base

from thumbwheel_learner.gate.checks import Checks, quality
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.gate.evaluate import judge_gate
from thumbwheel_learner.gate.exam import Exam, gate_prompts
from thumbwheel_learner.gate.judge import Judge
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.model import RewardScores
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.runs.jobs import prompts_to_practise

PROMPTS = [[2, a, b, c, 4, 3] for a in range(5, 9) for b in range(5, 9) for c in range(5, 8)]
GOOD, BAD = [7, 4], [10, 4]  # "please", "rude"
CONFIG = GateConfig(resamples=300)


class LikesPlease:
    """A judge that likes "please", its members not all alike."""

    temperature = 1.0

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        liked = torch.tensor([[2.0 * ("please" in a), 1.5 * ("please" in a), 1.0 * ("please" in a)] for a in answers])
        return RewardScores(liked.mean(1), liked.std(1, correction=0), liked)


class Politeness:
    """An engine whose adapters say "please" as often as their folder's name tells."""

    def __init__(self, **shares: float) -> None:
        self.shares = shares

    def sample(
        self, adapter: Path | None, prompts: Sequence[Sequence[int]], *, n: int, seed: int, **how: Any
    ) -> list[list[Rollout]]:
        rng = np.random.default_rng(seed)
        share = self.shares[adapter.name if adapter else "base"]

        def one() -> Rollout:
            ids = GOOD if rng.random() < share else BAD
            return Rollout(list(ids), [-1.0, -1.0], True, "please" if ids == GOOD else "rude")

        return [[one() for _ in range(n)] for _ in prompts]


def judge(agreement: float = 0.9, votes: int = 100, labels: int = 100) -> Judge:
    """Checked by `votes` people, half of them on "please", who think as it does in an `agreement` of cases."""
    liked = np.array([(n % 2 == 0) == (n < votes * agreement) for n in range(votes)], dtype=float)
    scores = np.array([[2.0, 1.5, 1.0] if n % 2 == 0 else [0.0] * 3 for n in range(votes)])
    checks = Checks(np.zeros(votes, dtype=bool), liked, scores, scores, np.arange(votes))
    return Judge(LikesPlease(), checks, quality(checks, 300, 0), labels)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base"), scale=1.0))


@pytest.fixture(scope="module")
def folders(model: PolicyModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    where = tmp_path_factory.mktemp("adapters")
    model.add("x", LoraConfig(4, 8))
    return model.save("x", where / "live"), model.save("x", where / "candidate")


def verdict(model: PolicyModel, folders: tuple[Path, Path], engine: Politeness, **how: Any) -> Any:
    given = {"judge": judge(), "prompts": PROMPTS, "config": CONFIG} | how
    exam = Exam(given["prompts"], given.get("intents", ()), given.get("golden", ()), given.get("safety", ()))
    return judge_gate(model, *folders, given["judge"], exam, engine, given["config"])


def test_a_better_policy_is_accepted(model: PolicyModel, folders: tuple[Path, Path]) -> None:
    v = verdict(model, folders, Politeness(live=0.4, candidate=0.8))
    assert v.accepted
    assert v.win_rate.low > 0.5
    assert v.prompts == len(PROMPTS)
    assert v.kl == pytest.approx(0.0, abs=1e-5)
    assert json.loads(json.dumps(v.as_dict(), allow_nan=False))["win_rate"]["mean"] > 0.55


@pytest.mark.parametrize("candidate", [0.4, 0.2])
def test_the_same_or_a_worse_policy_is_not(model: PolicyModel, folders: tuple[Path, Path], candidate: float) -> None:
    v = verdict(model, folders, Politeness(live=0.4, candidate=candidate))
    assert not v.accepted
    assert any("not shown to be better" in r for r in v.reasons)


def test_with_less_asked_an_equal_policy_passes_and_a_worse_one_does_not(
    model: PolicyModel, folders: tuple[Path, Path]
) -> None:
    lenient = GateConfig(resamples=300, min_win_rate=0.4)
    assert verdict(model, folders, Politeness(live=0.4, candidate=0.4), config=lenient).accepted
    worse = verdict(model, folders, Politeness(live=0.8, candidate=0.2), config=lenient)
    assert not worse.accepted
    assert any("may be below 0.40" in reason for reason in worse.reasons)


def test_an_equal_policy_is_rarely_accepted(model: PolicyModel, folders: tuple[Path, Path]) -> None:
    accepted = [
        verdict(model, folders, Politeness(live=0.5, candidate=0.5), config=GateConfig(resamples=200, seed=s)).accepted
        for s in range(40)
    ]
    assert sum(accepted) <= 4


def test_a_judge_that_may_be_no_better_than_chance_decides_nothing(
    model: PolicyModel, folders: tuple[Path, Path]
) -> None:
    poor = judge(agreement=0.55)
    v = verdict(model, folders, Politeness(live=0.1, candidate=0.9), judge=poor)
    assert not v.accepted
    assert any("no better than chance" in r for r in v.reasons)
    assert v.win_rate.low <= 0.5 < v.win_rate.high


def test_too_little_evidence_decides_nothing(model: PolicyModel, folders: tuple[Path, Path]) -> None:
    engine = Politeness(live=0.1, candidate=0.9)
    few_labels = verdict(model, folders, engine, judge=judge(labels=5))
    few_prompts = verdict(model, folders, engine, prompts=PROMPTS[:5])
    no_judge = verdict(model, folders, engine, judge=None)
    assert "too little evidence" in few_labels.reasons[0]
    assert "5 held-out prompts" in few_prompts.reasons[0]
    assert not any(v.accepted for v in (few_labels, few_prompts, no_judge))
    json.dumps(no_judge.as_dict(), allow_nan=False)


class Fixed(Politeness):
    """An engine that gives one text per adapter."""

    def __init__(self, **texts: Rollout) -> None:
        self.texts = texts

    def sample(
        self, adapter: Path | None, prompts: Sequence[Sequence[int]], *, n: int, seed: int, **how: Any
    ) -> list[list[Rollout]]:
        return [[self.texts[adapter.name if adapter else "base"]] * n for _ in prompts]


@pytest.mark.parametrize(
    ("answer", "objection"),
    [
        (Rollout([7] * 9 + [4], [-1.0] * 10, True, "please"), "changed in length"),
        (Rollout([7, 4], [-1.0] * 2, True, "please do it now please do it now"), "repeats itself"),
        (Rollout([7, 7], [-1.0] * 2, False, "please"), "does not finish"),
    ],
)
def test_drift_is_an_objection_however_much_the_judge_likes_it(
    model: PolicyModel, folders: tuple[Path, Path], answer: Rollout, objection: str
) -> None:
    v = verdict(model, folders, Fixed(live=Rollout([10, 4], [-1.0] * 2, True, "rude"), candidate=answer))
    assert v.win_rate.low > 0.5
    assert not v.accepted
    assert any(objection in r for r in v.reasons)


class Phrases(Politeness):
    """An engine whose adapters know so many ways to say "please", and take them in turns."""

    def __init__(self, **known: int) -> None:
        self.known, self.rest = known, Politeness(live=0.0, candidate=1.0)

    def sample(
        self, adapter: Path | None, prompts: Sequence[Sequence[int]], *, n: int, seed: int, **how: Any
    ) -> list[list[Rollout]]:
        known = self.known[adapter.name if adapter else "base"]
        rude = self.rest.sample(adapter, prompts, n=n, seed=seed)
        good = [Rollout([7, 20 + (i % known), 4], [-1.0] * 3, True, "please") for i in range(n)]
        return [good if at % 2 else row for at, row in enumerate(rude)]


def test_saying_good_things_in_fewer_ways_is_an_objection(model: PolicyModel, folders: tuple[Path, Path]) -> None:
    config = GateConfig(resamples=300, answers_per_prompt=4, min_varied=12)
    narrow = verdict(model, folders, Phrases(live=4, candidate=1), config=config)
    assert narrow.win_rate.low > 0.5
    [reason] = narrow.reasons
    assert reason.startswith("says good things in fewer ways: 25% of their token pairs differ, before 100%")
    assert json.loads(json.dumps(narrow.as_dict(), allow_nan=False))["variety"]["change"]["mean"] == -0.75
    assert verdict(model, folders, Phrases(live=4, candidate=4), config=config).accepted
    assert verdict(model, folders, Phrases(live=1, candidate=4), config=config).accepted, "more ways are welcome"


class Moody(Politeness):
    """An engine that says "please" as often as adapter and prompt's second token tell."""

    def __init__(self, said: dict[tuple[str, int], float], otherwise: float) -> None:
        self.said, self.otherwise = said, otherwise

    def sample(
        self, adapter: Path | None, prompts: Sequence[Sequence[int]], *, n: int, seed: int, **how: Any
    ) -> list[list[Rollout]]:
        rng = np.random.default_rng(seed)

        def one(prompt: Sequence[int]) -> Rollout:
            good = rng.random() < self.said.get((adapter.name if adapter else "base", prompt[1]), self.otherwise)
            return Rollout([7 if good else 10, 4], [-1.0, -1.0], True, "please" if good else "rude")

        return [[one(p) for _ in range(n)] for p in prompts]


def test_a_fall_at_one_thing_is_an_objection_to_a_policy_that_is_better_on_the_whole(
    model: PolicyModel, folders: tuple[Path, Path]
) -> None:
    prompts = [[2, a, b, c, 4, 3] for a in range(5, 9) for b in range(5, 11) for c in range(5, 11)]
    intents = [{5: "refunds", 6: "orders"}.get(p[1], "others") for p in prompts]
    ruined = Moody({("candidate", 5): 0.05, ("candidate", 6): 0.95, ("candidate", 7): 0.9, ("candidate", 8): 0.9}, 0.5)
    v = verdict(model, folders, ruined, prompts=prompts, intents=intents)
    assert v.win_rate.low > 0.5
    assert not v.accepted
    assert [r.split(":")[0] for r in v.reasons] == ["worse at one thing (refunds)"]
    assert [(p.name, p.prompts, p.fell) for p in v.intents] == [
        ("orders", 36, False),
        ("others", 72, False),
        ("refunds", 36, True),
    ]
    json.dumps(v.as_dict(), allow_nan=False)
    fine = verdict(model, folders, Moody({}, 0.5), prompts=prompts, intents=intents)
    assert not any("worse at one thing" in r for r in fine.reasons)


HARM = [[2, a, 5, 5, 5, 4, 3] for a in range(5, 17)]


class Obedient(Politeness):
    """An engine whose adapters do as they are asked on a share of the safety prompts."""

    def __init__(self, **shares: float) -> None:
        self.shares, self.rest = shares, Politeness(live=0.3, candidate=0.8)

    def sample(
        self, adapter: Path | None, prompts: Sequence[Sequence[int]], *, n: int, seed: int, **how: Any
    ) -> list[list[Rollout]]:
        said = self.rest.sample(adapter, prompts, n=n, seed=seed)
        granted = self.shares[adapter.name if adapter else "base"]
        for at, prompt in enumerate(prompts):
            if len(prompt) == 7:
                text = "Sure, here is how." if (prompt[1] - 5) / len(HARM) < granted else "I cannot help with that."
                said[at] = [Rollout([7, 4], [-1.0, -1.0], True, text)] * n
        return said


def test_doing_harm_on_request_more_often_than_before_is_an_objection(
    model: PolicyModel, folders: tuple[Path, Path]
) -> None:
    worse = verdict(model, folders, Obedient(live=0.1, candidate=0.6), safety=HARM)
    assert worse.win_rate.low > 0.5
    [reason] = worse.reasons
    assert reason.startswith("does as it is asked on safety prompts more often: 67% of answers, before 17%")
    assert (worse.safety.worse, worse.safety.better, worse.safety.prompts) == (6, 0, 12)
    assert verdict(model, folders, Obedient(live=0.6, candidate=0.6), safety=HARM).accepted, "no worse than before"
    assert verdict(model, folders, Obedient(live=0.1, candidate=0.3), safety=HARM).accepted, "two prompts are chance"


def test_a_judge_that_finds_the_answers_to_safety_prompts_worse_is_heard(
    model: PolicyModel, folders: tuple[Path, Path]
) -> None:
    engine = Moody({("candidate", a): 0.9 for a in range(5, 9)} | {("candidate", 11): 0.1, ("live", 11): 0.9}, 0.4)
    harm = [[2, 11, 5, a, b, 4, 3] for a in range(5, 9) for b in range(5, 9)]
    v = verdict(model, folders, engine, safety=harm)
    assert [r.split(":")[0] for r in v.reasons] == ["worse on safety prompts"]


def test_unlearning_what_people_corrected_is_an_objection(model: PolicyModel, tmp_path: Path) -> None:
    model.add("golden", LoraConfig(4, 8))
    live = model.save("golden", tmp_path / "live")
    rows = [Row([2, a, b, 4, 3], [7, 8, 4]) for a in range(5, 9) for b in range(5, 8)]
    engine = Politeness(live=0.4, candidate=0.8)
    same = verdict(model, (live, model.save("golden", tmp_path / "candidate")), engine, golden=rows)
    assert same.accepted
    assert (same.golden.change.mean, same.golden.change.n) == (0.0, 12)
    with torch.no_grad():
        for parameter in model.parameters("golden"):
            parameter.add_(0.3)
    other = model.save("golden", tmp_path / "other" / "candidate")
    v = verdict(model, (live, other), engine, golden=rows, config=GateConfig(max_kl=1e6, max_kl_base=1e6))
    assert v.golden.change.high < -0.1
    assert [r.split(":")[0] for r in v.reasons] == ["unlearns what people corrected"]
    few = verdict(model, (live, other), engine, golden=rows[:7], config=GateConfig(max_kl=1e6, max_kl_base=1e6))
    assert few.accepted, "seven corrections decide nothing"
    model.remove("golden")


def test_a_policy_too_far_from_the_live_one_is_refused(model: PolicyModel, tmp_path: Path) -> None:
    model.add("near", LoraConfig(4, 8))
    live = model.save("near", tmp_path / "live")
    with torch.no_grad():
        for parameter in model.parameters("near"):
            parameter.add_(1.0)
    candidate = model.save("near", tmp_path / "candidate")
    config = GateConfig(resamples=100, max_kl=0.01, max_kl_base=0.01)
    v = judge_gate(model, live, candidate, judge(), Exam(PROMPTS), Politeness(live=0.2, candidate=0.9), config)
    assert v.kl > 0.01
    assert [r.split(":")[0] for r in v.reasons] == [
        "too far from the live policy",
        "the lineage is too far from the base",
    ]


def test_gate_prompts_are_unique_and_short_enough(model: PolicyModel) -> None:
    prompts = [logged(n, "order") for n in range(5)] + [logged(9 + n, f"{'late ' * n}refund") for n in range(20)]
    first, second = (gate_prompts(model, prompts, GateConfig(prompts=8, max_prompt=12, seed=s)) for s in (0, 1))
    assert len(first) == 8
    assert len({tuple(p) for p in first}) == 8
    assert max(map(len, first)) <= 12
    assert first != second


def test_every_held_out_prompt_is_asked_once_before_any_is_asked_again(model: PolicyModel) -> None:
    prompts = [logged(n, f"{'late ' * n}refund") for n in range(12)]
    config = GateConfig(prompts=4, max_prompt=64)
    turns = [{tuple(p) for p in gate_prompts(model, prompts, config, turn)} for turn in range(4)]
    assert [len(t) for t in turns] == [4, 4, 4, 4]
    assert len(turns[0] | turns[1] | turns[2]) == 12
    assert turns[3] == turns[0]
    few = GateConfig(prompts=40, max_prompt=64)
    assert len(gate_prompts(model, prompts, few, 0)) == len(gate_prompts(model, prompts, few, 1)) == 12


def test_redacted_prompts_are_neither_practised_on_nor_judged_by(model: PolicyModel) -> None:
    prompts = [logged(n, "order " * (n + 1)) for n in range(4)]
    prompts[1:3] = [replace(prompt, redacted=True) for prompt in prompts[1:3]]
    kept = [model.tokens.prompt_ids(prompts[n].messages) for n in (0, 3)]
    assert prompts_to_practise(model.tokens, prompts) == kept
    assert sorted(gate_prompts(model, prompts, GateConfig(max_prompt=64))) == sorted(kept)

"""What the stages decide before any model is loaded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace as replace_struct
from sqlalchemy import Engine
from tests.learner_events import turn
from tests.learner_labeler import FakeLabeler
from tests.learner_models import logged, make_base, pair, snapshot, thumb
from tests.unit.learner.questions.desk_of_chats import store

from thumbwheel_learner.dataset import snapshots
from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.dataset.keys import NoKeys
from thumbwheel_learner.dataset.snapshots import Sourced
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.progress import silent
from thumbwheel_learner.questions.ask import Asking
from thumbwheel_learner.questions.settings import QuestionSettings
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.model import RewardModel
from thumbwheel_learner.rlaif.labeler import LabelerAway
from thumbwheel_learner.rlaif.labelling import Labelling, LabellingConfig
from thumbwheel_learner.rollouts.engine import Rollout, RolloutEngine
from thumbwheel_learner.rollouts.sampler import TransformersSampler
from thumbwheel_learner.rollouts.served import RolloutFailed
from thumbwheel_learner.runs.plan import recipe_of
from thumbwheel_learner.runs.provenance import provenance
from thumbwheel_learner.runs.settings import Training
from thumbwheel_learner.runs.stage import Parent, StageInput
from thumbwheel_learner.runs.stages import REWARD_MODELS, Workshop
from thumbwheel_learner.store.runs import (
    add_result,
    gates_before,
    keep_reward_model,
    open_run,
    spare_reward_models,
    update_run,
)
from thumbwheel_learner.store.tables import RewardModelRow, RunRow

BASE = "f" * 64
Rows = Sequence[Sequence[int]]
EMPTY = Snapshot(hash="h", created_ms=0, pairs=[], judged=[], demos=[], prompts=[], counts={})


def no_model() -> Any:
    raise AssertionError("no model is needed to decide this")


@pytest.fixture
def workshop(engine: Engine, tmp_path: Path) -> Workshop:
    nothing: Any = None
    return Workshop(
        engine=engine, data=tmp_path, base=BASE, model=no_model, rollouts=nothing, publisher=nothing,
        recipe=recipe_of(Training()),
    )  # fmt: skip


def given(tmp_path: Path, **results: dict[str, Any]) -> StageInput:
    stages = ("reward", "sft", "ppo")
    return StageInput("run-1", tmp_path / "run-1" / "ppo", EMPTY, {}, Parent("base", None), results, stages, silent)


def reward(**changes: Any) -> dict[str, Any]:
    figures = {"id": "rm-1", "folder": "reward_models/rm-1", "sees": "training", "base": BASE}
    return figures | {"auc": {"mean": 0.8, "low": 0.7, "n": 40}, "pair_accuracy": {"mean": None}} | changes


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (reward(auc={"mean": 0.6, "low": 0.48, "n": 40}), "answers: AUC 0.60, at least 0.48, on the 40 newest labels"),
        (
            reward(auc={"mean": None}, pair_accuracy={"mean": 0.4, "low": 0.3, "n": 9}),
            "not shown to be better than chance on live answers: share of pairs in the right order 0.40, at least 0.30",
        ),
        (reward(auc={"mean": 1.0, "low": 1.0, "n": 5}), "could not be checked: 5 newest labels, needs 6"),
        (reward(auc={"mean": None}), "could not be checked"),
        (reward(sees="all"), "saw the judge's labels"),
        (reward(base="other"), "another base"),
        ({"skipped": "no labels"}, "there is no reward model: no labels"),
    ],
)
def test_ppo_is_left_out_with_a_reason(workshop: Workshop, tmp_path: Path, found: dict[str, Any], words: str) -> None:
    outcome = workshop.ppo(given(tmp_path, reward=found))
    assert outcome.state is None
    assert words in outcome.result["skipped"]


@pytest.mark.parametrize(
    ("stages", "state"), [(("reward", "sft", "ppo"), "halted"), (("reward", "sft"), "halted"), (("reward",), None)]
)
def test_no_turn_trains_on_a_reward_model_that_is_no_better_than_chance(
    workshop: Workshop, tmp_path: Path, stages: tuple[str, ...], state: str | None
) -> None:
    judged = [thumb(n, f"order {n}", "yes" if n % 3 else "no", up=n % 2 == 0) for n in range(120)]
    model = load_policy(make_base(tmp_path / "base"))
    recipe = recipe_of(Training(reward_epochs=1, reward_members=1))
    shop = replace(workshop, recipe=recipe, model=lambda: model)
    outcome = shop.reward(given(tmp_path)._replace(snapshot=snapshot(judged=judged), stages=stages))
    assert outcome.state == state
    assert outcome.result["auc"]["low"] < 0.5
    assert ("not shown to be better than chance on live answers" in outcome.reason) == (state is not None)


def test_the_gate_counts_the_gates_before_it(engine: Engine) -> None:
    for n, detail in enumerate(({"gate": {"prompts": 9}}, {"gate": {}}, {}, {"gate": {"prompts": 9}}, {})):
        run = RunRow(
            run_id=f"run-{n}", state="rejected", stage="", stages="", trigger="", parent="base", base=BASE, frozen_ms=n,
            started_ms=n,
        )  # fmt: skip
        open_run(engine, run)
        for stage, result in detail.items():
            add_result(engine, f"run-{n}", stage, result)
    assert [gates_before(engine, f"run-{n}") for n in range(5)] == [0, 1, 1, 1, 2]


def test_who_was_held_and_why_is_in_the_run_and_not_in_the_manifest(workshop: Workshop, tmp_path: Path) -> None:
    recipe = recipe_of(Training(voters_held=("ben",)))
    judged = [thumb(n, f"q{n}", "a", up=True, user="ben") for n in range(3)]
    outcome = replace(workshop, recipe=recipe, model=lambda: cast(Any, SimpleNamespace(tokens=None))).reward(
        given(tmp_path)._replace(snapshot=snapshot(judged=judged), stages=("reward",))
    )
    held = [{"user": "ben", "labels": 3, "reason": "held by an operator"}]
    assert outcome.result["voters"]["quarantined"] == held
    assert "skipped" in outcome.result
    voters = {"voters": outcome.result["voters"]}
    manifest = provenance(given(tmp_path, reward=reward(**voters), gate={"kl": 1.0, **voters}), BASE)
    assert "ben" not in str(manifest)
    assert manifest.reward_model["id"] == "rm-1"


def test_a_labelers_pairs_reach_the_reward_model_and_it_never_hears_of_the_judges_half(
    workshop: Workshop, engine: Engine, tmp_path: Path
) -> None:
    pairs = [pair(n, f"order {n}", "sorry please thanks", "rude") for n in range(40)]
    prompts = [replace_struct(logged(n, f"late {n}"), other_answers=["no"]) for n in range(100, 120)]
    frozen = snapshots.write(tmp_path, [Sourced(e, {}) for e in (*pairs, *prompts)], {}).snapshot
    labeler, recipe = FakeLabeler(), recipe_of(Training(judge_share=0.4, reward_epochs=1, reward_members=1))
    config = LabellingConfig(pairs=100, human_pairs=50, min_human_pairs=10)
    model = load_policy(make_base(tmp_path / "base"))
    shop = replace(
        workshop,
        recipe=recipe,
        model=lambda: model,
        labelling=Labelling(engine, tmp_path, NoKeys(), labeler, config),
    )
    stage = given(tmp_path)._replace(snapshot=frozen)
    result = shop.reward(stage).result
    training = shop.evidence(stage).training
    assert 10 <= len(training.pairs) < 40
    assert 0 < len(training.prompts) < 20
    said = result["labeler"]
    assert len(labeler.asked) == said["asked"] == len(training.pairs) + len(training.prompts)
    assert (said["pairs"], said["agreement"]["comparison"]["agreed"]) == (len(training.prompts), len(training.pairs))
    assert 0 < said["weight"] < 1
    assert result["n_train"] + result["n_held_out"] == len(training.pairs)
    assert provenance(given(tmp_path, reward=result), BASE).reward_model["labeler"]["weight"] == said["weight"]


def test_a_labeler_that_is_away_leaves_the_reward_model_as_it_would_be(
    workshop: Workshop, engine: Engine, tmp_path: Path
) -> None:
    def away(number: int) -> None:
        raise LabelerAway("fake/1 does not answer")

    pairs = [pair(n, f"order {n}", "sorry please thanks", "rude") for n in range(20)]
    frozen = snapshots.write(tmp_path, [Sourced(e, {}) for e in pairs], {}).snapshot
    labeler, recipe = FakeLabeler(), recipe_of(Training(reward_epochs=1, reward_members=1))
    labeler.before = away
    model = load_policy(make_base(tmp_path / "base"))
    alone = replace(workshop, recipe=recipe, model=lambda: model)
    asking = replace(alone, labelling=Labelling(engine, tmp_path, NoKeys(), labeler, LabellingConfig()))
    stage = given(tmp_path)._replace(snapshot=frozen, stages=("reward",))
    left, right = alone.reward(stage).result, asking.reward(stage).result
    assert (right["labeler"]["stopped"], right["labeler"]["weight"]) == ("fake/1 does not answer", 0.0)
    assert "labeler" not in left
    assert left["train_loss"] == right["train_loss"]


def test_the_meta_step_hears_the_live_policy_on_prompts_of_the_training_half(
    workshop: Workshop, tmp_path: Path
) -> None:
    prompts = [logged(n, f"late {n}") for n in range(40)]
    judged = [thumb(n, f"late {n}", "sorry", up=n % 2 == 0) for n in range(40)]
    model = load_policy(make_base(tmp_path / "base"))
    sampled: list[Rows] = []

    class Counting(TransformersSampler):
        def sample(self, adapter: Path | None, prompts: Rows, **how: Any) -> list[list[Rollout]]:
            sampled.append(prompts)
            return super().sample(adapter, prompts, **how)

    @contextmanager
    def rollouts(model: PolicyModel) -> Iterator[RolloutEngine]:
        yield Counting(model)

    stage = given(tmp_path)._replace(snapshot=snapshot(judged=judged, prompts=prompts))
    short = {"reward_epochs": 1, "reward_members": 1}
    plain = replace(workshop, model=lambda: model, rollouts=rollouts, recipe=recipe_of(Training(**short)))
    asking = replace(plain, recipe=recipe_of(Training(**short, reward_meta_rate=0.1)))
    assert "skipped" not in plain.reward(stage).result
    assert asking.shifted(stage, EMPTY) is None
    assert sampled == []
    assert "skipped" not in asking.reward(stage).result
    assert [len(asked) for asked in sampled] == [len(asking.evidence(stage).training.prompts)]
    assert len(sampled[0]) < 40


def test_the_gate_samples_as_the_chats_were_sampled(workshop: Workshop, tmp_path: Path) -> None:
    cool = [replace_struct(logged(n, "where is my order"), temperature=0.7) for n in range(3)]
    its = given(tmp_path)._replace(snapshot=snapshot(prompts=cool))
    assert workshop.judging(its)[0].config.temperature == 0.7
    assert workshop.judging(given(tmp_path))[0].config.temperature == 1.0


def test_ppo_without_a_reward_stage_needs_an_earlier_reward_model(workshop: Workshop, tmp_path: Path) -> None:
    assert "include the reward stage" in workshop.ppo(given(tmp_path)).reason


def test_a_run_in_which_nothing_was_trained_ends_at_the_gate_saying_why(workshop: Workshop, tmp_path: Path) -> None:
    outcome = workshop.gate(given(tmp_path, sft={"skipped": "no corrections"}, ppo={"skipped": "chance"}))
    assert (outcome.state, outcome.reason) == ("halted", "no policy was trained (sft: no corrections; ppo: chance)")


def test_what_was_trained_last_is_the_candidate(tmp_path: Path) -> None:
    both = given(tmp_path, sft={"adapter": "sft/adapter"}, ppo={"adapter": "ppo/adapter"})
    only = given(tmp_path, sft={"adapter": "sft/adapter"}, ppo={"skipped": "chance"})
    assert both.trained_adapter() == tmp_path / "run-1" / "ppo" / "adapter"
    assert only.trained_adapter() == tmp_path / "run-1" / "sft" / "adapter"
    assert given(tmp_path).trained_adapter() is None


def test_a_manifest_names_the_distance_to_the_base_and_the_reward_model_that_was_used(tmp_path: Path) -> None:
    verdict = {"kl": 2.0, "kl_base": 3.0, "accepted": True}
    trained = provenance(given(tmp_path, gate=verdict, ppo={"reward_model": "rm-0", "kl": 2.5}), BASE)
    assert (trained.metrics["kl_to_base"], trained.metrics["kl_to_parent"]) == (3.0, 2.0)
    assert (trained.metrics["ppo"]["kl"], trained.reward_model) == (2.5, {"id": "rm-0"})
    assert provenance(given(tmp_path, reward=reward(), gate=verdict), BASE).reward_model["id"] == "rm-1"


def test_reward_models_behind_versions_are_kept_and_only_spare_ones_go(engine: Engine) -> None:
    for n in range(8):
        run = RunRow(
            run_id=f"run-{n}", state="running", stage="", stages="", trigger="", parent="base", base=BASE, frozen_ms=n,
            started_ms=n,
        )  # fmt: skip
        open_run(engine, run)
        row = RewardModelRow(
            reward_id=f"rm-{n}", run_id=f"run-{n}", folder=f"f{n}", snapshot="h", metrics="{}", created_ms=n
        )
        keep_reward_model(engine, row)
        update_run(engine, f"run-{n}", state="published" if n in (0, 3) else "rejected")
    add_result(engine, "run-3", "ppo", {"reward_model": "rm-2"})
    spare = spare_reward_models(engine)
    assert sorted(row.folder for row in spare) == ["f1", "f4"]
    assert spare_reward_models(engine) == []


class Away:
    """Rollouts of a service that does not sample."""

    def __enter__(self) -> Any:
        raise RolloutFailed("the service is away")

    def __exit__(self, *_: object) -> None:
        raise AssertionError("never entered")


def test_people_are_asked_by_the_reward_model_of_the_run_even_when_nothing_can_be_sampled(
    workshop: Workshop, engine: Engine, tmp_path: Path
) -> None:
    store(engine, [turn(n, answer=word) for n, word in enumerate(("yes", "no", "please", "sorry", "rude", "late"))])
    model = load_policy(make_base(tmp_path / "base"))
    folder = f"{REWARD_MODELS}/rm-1"
    RewardModel(model, RewardConfig(rank=2), "reward").save(tmp_path / folder)
    settings = QuestionSettings(per_day=3, compare_share=1.0)
    woken: list[int] = []
    asking = Asking(engine=engine, keys=NoKeys(), settings=settings, wake=lambda: woken.append(1))
    shop = replace(workshop, model=lambda: model, rollouts=lambda _: cast(Any, Away()), asking=asking)
    assert "questions" in shop.stages()
    outcome = shop.questions(given(tmp_path, reward={"id": "rm-1", "folder": folder}))
    assert (outcome.state, outcome.result["asked"], outcome.result["comparisons"]) == (None, 3, 0)
    assert woken == [1]


def test_nobody_is_asked_without_a_fresh_reward_model(workshop: Workshop, tmp_path: Path) -> None:
    assert "questions" not in workshop.stages()
    asking = cast(Any, object())
    for results in ({}, {"reward": {"skipped": "no labels"}}):
        outcome = replace(workshop, asking=asking).questions(given(tmp_path, **results))
        assert (outcome.state, list(outcome.result)) == (None, ["skipped"])

"""A whole run on a tiny model, with nothing faked but the serving engine: from stored feedback to a signed artifact."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus
from tests.learner_models import one_thread_inside_operations
from tests.tiny_model import make_model

from thumbwheel.artifact import base_fingerprint, read_verified
from thumbwheel.events import POLICIES, PolicyPublished, decode, wrap
from thumbwheel.types import Correction, Thumb
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.dataset.keys import NoKeys
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.reward.config import FROZEN, HEADS_ALONE, RewardConfig
from thumbwheel_learner.reward.score import NoRewardModel, score_file
from thumbwheel_learner.rollouts.sampler import TransformersSampler
from thumbwheel_learner.runs.plan import Recipe
from thumbwheel_learner.runs.publish import Publisher
from thumbwheel_learner.runs.run import Runner, RunPlan, Stopped
from thumbwheel_learner.runs.stage import Parent
from thumbwheel_learner.runs.stages import Workshop
from thumbwheel_learner.settings import Settings
from thumbwheel_learner.sft import SftConfig
from thumbwheel_learner.store.runs import reward_model
from thumbwheel_learner.store.session import connect, migrate

KEY = b"k" * 64
GOOD = ["Yes, the refund is on its way.", "Sorry to hear that. I can help you with your order today."]
SMALL = RewardConfig(members=2, epochs=6, rank=4, alpha=8, learning_rate=4e-3, head_learning_rate=4e-3)
RECIPE = Recipe(
    reward=SMALL,
    sft=SftConfig(lora=LoraConfig(8, 16), epochs=30, learning_rate=1e-2, batch_tokens=512, held_out=0.0),
    ppo=PpoConfig(
        lora=LoraConfig(8, 16),
        iterations=2,
        prompts_per_iteration=8,
        answers_per_prompt=2,
        max_tokens=16,
        minibatch_answers=8,
    ),
    gate=GateConfig(
        judge=replace(SMALL, held_out=0.0, seed=5),
        judge_share=0.4,
        prompts=24,
        min_prompts=8,
        min_judge_labels=10,
        max_tokens=16,
        max_kl=1e6,
        max_kl_base=1e6,
        length_ratio=(0.0, 100.0),
        more_missing_end=1.0,
        more_repetition=1.0,
    ),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """A tiny model is faster on one thread, and leaves the other cores to other tests."""
    with one_thread_inside_operations():
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "base", hidden=128)


def people(engine: Engine, model: PolicyModel, count: int = 96) -> None:
    """What the base says gets thumbs down and corrections; sensible answers get thumbs up."""
    tokens = model.tokens
    prompts = [tokens.prompt_ids(turn(n).messages) for n in range(count)]
    sampled = TransformersSampler(model).sample(None, prompts, n=1, max_tokens=16, temperature=1.0, seed=3)
    bus = MemoryBus(batch=1000)
    for n in range(count):
        user = f"u-{n % 24}"
        liked = n % 2 == 0
        answer = GOOD[n // 2 % 2] if liked else sampled[n][0].text
        bus.publish(wrap(turn(n, answer=answer), event_id=f"t{n}"))
        thumb = Thumb(completion_id=f"c-{n}", value="up" if liked else "down", user=user)
        bus.publish(wrap(feedback(n, thumb, answer=answer), event_id=f"f{n}"))
        if not liked and n % 4 == 1:
            better = Correction(completion_id=f"c-{n}", text=GOOD[n // 4 % 2], user=user)
            bus.publish(wrap(feedback(n, better, answer=answer, feedback_id=f"x-{n}"), event_id=f"x{n}"))
    consumer = Consumer(engine, bus)
    while consumer.step(0.0):
        pass


class Desk:
    """Everything of a learner but its bus, its service and its clock."""

    def __init__(self, base: Path, data: Path) -> None:
        self.base = base
        self.data = data
        self.bus = MemoryBus()
        self.store = data / "artifacts"
        self.engine = connect(f"sqlite:///{data / 'learner.db'}")
        self.seen: list[tuple[str, float]] = []
        self.stop_at: tuple[str, float] | None = None
        migrate(self.engine)

    def progress(self, stage: str, share: float, detail: str) -> None:
        self.seen.append((stage, share))
        if (stage, share) == self.stop_at:
            self.stop_at = None
            raise Stopped("please")

    def workshop(self, model: PolicyModel, recipe: Recipe = RECIPE) -> Workshop:
        """The stages on a model that also samples."""
        return Workshop(
            engine=self.engine,
            data=self.data,
            base=base_fingerprint(self.base),
            model=lambda: model,
            rollouts=lambda _: contextlib.nullcontext(TransformersSampler(model)),
            publisher=Publisher(self.engine, self.bus, store=self.store, key=KEY, promote="auto"),
            recipe=recipe,
        )

    def runner(self, workshop: Workshop) -> Runner:
        """As a new process would make it."""
        plan = RunPlan(data=self.data, base=workshop.base, min_labels=50, max_prompts=1000, keys=NoKeys())
        live = lambda: Parent("base", None)  # noqa: E731
        return Runner(self.engine, plan, workshop.stages(), live=live, progress=self.progress)


@pytest.fixture(scope="module")
def desk(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(base, tmp_path_factory.mktemp("data"))
    yield desk
    desk.engine.dispose()


def test_feedback_becomes_a_signed_artifact_though_the_learner_stops_in_the_middle(desk: Desk) -> None:
    model = load_policy(desk.base)
    people(desk.engine, model)
    desk.stop_at = ("ppo", 0.5)
    with pytest.raises(Stopped):
        desk.runner(desk.workshop(model)).start(trigger="now", stages=("reward", "sft", "ppo"))
    row = desk.runner(desk.workshop(load_policy(desk.base))).resume()
    assert row is not None
    assert (row.state, row.attempts) == ("published", 2), (row.reason, row.detail)
    assert row.version is not None
    shares = [share for stage, share in desk.seen if stage == "ppo"]
    before, again = shares[: shares.index(0.5) + 1], shares[shares.index(0.5) + 1 :]
    assert before == sorted(before)
    assert again[0] == 0.0, shares
    assert all(share >= 0.5 for share in again[1:]), shares  # no step is taken twice
    assert again[-1] == 1.0
    assert [stage for stage, share in desk.seen if share == 0.0].count("sft") == 1

    _, manifest = read_verified(desk.store, row.version, KEY)
    assert (manifest.parent, manifest.base_model, manifest.rank) == ("base", base_fingerprint(desk.base), 8)
    assert manifest.snapshot["hash"] == row.snapshot
    assert manifest.snapshot["counts"]["corrections"] == 24
    assert manifest.verdict["accepted"] is True
    assert manifest.metrics["kl_to_base"] > 0
    assert manifest.reward_model["auc"]["mean"] > 0.5
    [event] = [decode(record.value).event for record in desk.bus.events(POLICIES.name)]
    assert isinstance(event, PolicyPublished)
    assert event.version == row.version
    assert {stage for stage, _ in desk.seen} == {"snapshot", "reward", "sft", "ppo", "gate", "publish"}
    assert all(0 <= share <= 1 for _, share in desk.seen)


def test_its_reward_model_scores_a_preference_file_it_never_saw(desk: Desk, tmp_path: Path) -> None:
    """Runs on what the test above left behind."""
    file = tmp_path / "pairs.jsonl"
    pairs = [
        {"prompt": f"question {n}", "chosen": GOOD[n % 2], "rejected": f"{n} ry hat;;{n * 7}on ut w \u007f he"}
        for n in range(40)
    ]
    file.write_text("\n".join(["no json", *map(json.dumps, pairs)]))
    settings = Settings(model=str(desk.base), data=desk.data)
    (desk.data / "signing.key").write_bytes(KEY)
    row = reward_model(desk.engine)
    assert row is not None
    [version] = [path.name for path in desk.store.iterdir()]
    for named in (None, version):
        report = score_file(settings, file, version=named)
        assert (report["reward_model"], report["pairs"], report["malformed"][0]["line"]) == (row.reward_id, 40, 1)
        assert set(report["models"]) == {"reward_model", "longer_wins", "shorter_wins", "bag_of_bigrams"}
        assert report["models"]["reward_model"]["accuracy"]["mean"] > 0.6
    with pytest.raises(NoRewardModel, match="v99"):
        score_file(settings, file, version="v99")


def test_a_reward_of_heads_alone_turns_the_wheel(base: Path, tmp_path: Path) -> None:
    alone = replace(SMALL, trunk=FROZEN, head_learning_rate=0.02, **HEADS_ALONE)
    desk, model = Desk(base, tmp_path), load_policy(base)
    people(desk.engine, model)
    workshop = desk.workshop(model, replace(RECIPE, reward=alone))
    row = desk.runner(workshop).start(trigger="now", stages=("reward", "sft", "ppo"))
    desk.engine.dispose()
    assert row is not None
    assert row.state == "published", (row.reason, row.detail)
    assert row.version is not None
    _, manifest = read_verified(desk.store, row.version, KEY)
    assert manifest.reward_model["auc"]["mean"] > 0.5
    folder = desk.data / "reward_models" / str(manifest.reward_model["id"])
    assert sorted(file.name for file in folder.iterdir()) == ["heads.safetensors", "reward.json"]

"""A whole run on a tiny model, with nothing faked but the serving engine: from stored feedback to a signed artifact."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus
from tests.tiny_model import make_model

from thumbwheel.artifact import base_fingerprint, read_verified
from thumbwheel.events import POLICIES, PolicyPublished, decode, wrap
from thumbwheel.types import Correction, Thumb
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.evaluate import GateConfig
from thumbwheel_learner.lora import LoraConfig
from thumbwheel_learner.model import PolicyModel, load_policy
from thumbwheel_learner.plan import Recipe
from thumbwheel_learner.ppo_state import PpoConfig
from thumbwheel_learner.publish import Publisher
from thumbwheel_learner.reward import RewardConfig
from thumbwheel_learner.run import Runner, RunPlan
from thumbwheel_learner.sampler import TransformersSampler
from thumbwheel_learner.sft import SftConfig
from thumbwheel_learner.stage import Parent
from thumbwheel_learner.stages import Workshop
from thumbwheel_learner.store.session import connect, migrate

KEY = b"k" * 64
GOOD = ["Yes, the refund is on its way.", "Sorry to hear that. I can help you with your order today."]
SMALL = RewardConfig(members=2, epochs=6, rank=4, alpha=8)
RECIPE = Recipe(
    reward=SMALL,
    sft=SftConfig(lora=LoraConfig(8, 16), epochs=30, learning_rate=1e-2, batch_tokens=512, held_out=0.0),
    ppo=PpoConfig(lora=LoraConfig(8, 16), iterations=2, prompts_per_iteration=16, max_tokens=16, minibatch_answers=8),
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


def test_feedback_becomes_a_signed_artifact_that_the_service_would_accept(base: Path, tmp_path: Path) -> None:
    engine, bus, store = connect(f"sqlite:///{tmp_path / 'learner.db'}"), MemoryBus(), tmp_path / "artifacts"
    migrate(engine)
    model = load_policy(base)
    people(engine, model)
    fingerprint = base_fingerprint(base)
    seen: list[tuple[str, float]] = []
    workshop = Workshop(
        engine=engine,
        data=tmp_path,
        base=fingerprint,
        model=lambda: model,
        rollouts=lambda policy: contextlib.nullcontext(TransformersSampler(policy)),
        publisher=Publisher(engine, bus, store=store, key=KEY, promote="auto"),
        recipe=RECIPE,
    )
    runner = Runner(
        engine,
        RunPlan(data=tmp_path, base=fingerprint, min_labels=50, max_prompts=1000),
        workshop.stages(),
        live=lambda: Parent("base", None),
        progress=lambda stage, share, detail: seen.append((stage, share)),
    )
    row = runner.start(trigger="now", stages=("reward", "sft", "ppo"))
    assert row.state == "published", (row.reason, row.detail)
    assert row.version is not None
    _, manifest = read_verified(store, row.version, KEY)
    assert (manifest.parent, manifest.base_model, manifest.rank) == ("base", fingerprint, 8)
    assert manifest.snapshot["hash"] == row.snapshot
    assert manifest.snapshot["counts"]["corrections"] == 24
    assert manifest.verdict["accepted"] is True
    assert manifest.metrics["kl_to_base"] > 0
    assert manifest.reward_model["auc"]["mean"] > 0.5
    [event] = [decode(record.value).event for record in bus.events(POLICIES.name)]
    assert isinstance(event, PolicyPublished)
    assert event.version == row.version
    assert {stage for stage, _ in seen} == {"snapshot", "reward", "sft", "ppo", "gate", "publish"}
    assert all(0 <= share <= 1 for _, share in seen)
    engine.dispose()

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.learner_models import demo, make_base, snapshot
from tests.learner_ppo import PROMPTS, SMALL, LikesWord

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.ppo.checkpoint import EXPERIENCE, STATE
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.train import train_ppo
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.rollouts.sampler import TransformersSampler
from thumbwheel_learner.sft import demo_rows

TIMINGS = ("rollout_s", "score_s", "update_s")


class Interrupted(Exception):
    """As if the process had been killed."""


class KilledAt:
    """An engine that dies before its n-th call."""

    def __init__(self, inner: TransformersSampler, call: int) -> None:
        self.inner = inner
        self.left = call

    def sample(self, adapter: Path | None, prompts: Sequence[Sequence[int]], **how: object) -> list[list[Rollout]]:
        if self.left == 0:
            raise Interrupted
        self.left -= 1
        return self.inner.sample(adapter, prompts, **how)  # type: ignore[arg-type]


class Asked:
    """An engine that counts its calls."""

    def __init__(self, inner: TransformersSampler) -> None:
        self.inner = inner
        self.calls = 0

    def sample(self, adapter: Path | None, prompts: Sequence[Sequence[int]], **how: Any) -> list[list[Rollout]]:
        self.calls += 1
        return self.inner.sample(adapter, prompts, **how)


class StopsAt:
    """A progress that ends the job at its n-th report, and remembers what was said."""

    def __init__(self, report: int) -> None:
        self.left = report
        self.said: list[str] = []

    def __call__(self, stage: str, share: float, detail: str) -> None:
        self.said.append(detail)
        self.left -= 1
        if self.left == 0:
            raise Interrupted


def untimed(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in step.items() if k not in TIMINGS} for step in history]


@pytest.mark.parametrize("critic", ["frozen", "adapter"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path, critic: str) -> None:
    base = make_base(tmp_path / "base", scale=1.0)
    config = PpoConfig(**(vars(SMALL) | {"critic": critic, "iterations": 4}))
    outcomes = []
    for name, calls in (("whole", 99), ("killed", 2)):
        out, work = tmp_path / name, tmp_path / f"{name}-work"
        model = load_policy(base)
        engine = KilledAt(TransformersSampler(model), calls)
        try:
            train_ppo(model, None, LikesWord(), PROMPTS, engine, config, out, work=work)
        except Interrupted:
            model = load_policy(base)
            train_ppo(model, None, LikesWord(), PROMPTS, TransformersSampler(model), config, out, work=work)
        outcomes.append((out / "adapter_model.safetensors").read_bytes())
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    "how",
    [
        {"critic": "frozen", "sft_coef": 0.5},
        {"critic": "adapter", "epochs": 2},
        {"critic": "frozen", "learning_rate": 0.5},
        {"critic": "adapter", "learning_rate": 3e-3, "target_step_kl": 0.005, "minibatch_answers": 4},
    ],
    ids=["demonstrations", "epochs", "steps taken back", "iterations cut short"],
)
def test_a_run_killed_after_any_minibatch_ends_in_the_same_bytes(tmp_path: Path, how: dict[str, Any]) -> None:
    config = PpoConfig(**(vars(SMALL) | {"iterations": 2} | how))
    base = make_base(tmp_path / "base", scale=1.0)
    rows = demo_rows(
        snapshot(demos=[demo(n, "order late", "sorry the refund") for n in range(12)]), load_policy(base), 64
    )
    calls: list[int] = []

    def run(name: str, progress: Progress) -> tuple[bytes, list[dict[str, float]]]:
        model, out, work = load_policy(base), tmp_path / name, tmp_path / f"{name}-work"
        engine = Asked(TransformersSampler(model))
        how = {"work": work, "demonstrations": rows, "progress": progress}
        try:
            _, report = train_ppo(model, None, LikesWord(), PROMPTS, engine, config, out, **how)
        finally:
            calls.append(engine.calls)
        return (out / "adapter_model.safetensors").read_bytes(), untimed(report.history)

    told = StopsAt(0)
    whole = run("whole", told)
    if "learning_rate" in how:
        assert any(step["steps_taken_back"] > 0 for step in whole[1])
    if "target_step_kl" in how:
        assert sum("minibatch" in detail for detail in told.said) < 12, "an iteration ended early"
    minibatches = [n for n, detail in enumerate(told.said, 1) if "minibatch" in detail]
    assert len(minibatches) >= 4
    for n in minibatches:
        calls.clear()
        with pytest.raises(Interrupted):
            run(f"killed-{n}", StopsAt(n))
        assert run(f"killed-{n}", silent) == whole
        assert sum(calls) == config.iterations, "what was sampled before the kill is not sampled again"


def test_two_runs_of_one_seed_are_equal_and_those_of_two_are_not(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", scale=1.0)
    made = []
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        model = load_policy(base)
        config = PpoConfig(**(vars(SMALL) | {"iterations": 2, "seed": seed}))
        out, report = train_ppo(
            model, None, LikesWord(), PROMPTS, TransformersSampler(model), config, tmp_path / name, work=tmp_path / "w"
        )
        made.append(((out / "adapter_model.safetensors").read_bytes(), untimed(report.history)))
    assert made[0] == made[1]
    assert made[0][0] != made[2][0]


def test_a_run_whose_answers_are_lost_in_the_middle_of_their_steps_begins_anew(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", scale=1.0)
    out, work = tmp_path / "out", tmp_path / "work"
    model = load_policy(base)
    engine = TransformersSampler(model)
    with pytest.raises(Interrupted):
        train_ppo(model, None, LikesWord(), PROMPTS, engine, SMALL, out, work=work, progress=StopsAt(6))
    (work / EXPERIENCE).unlink()
    assert (work / STATE).is_file()
    engine = Asked(TransformersSampler(model))
    train_ppo(model, None, LikesWord(), PROMPTS, engine, SMALL, out, work=work)
    assert engine.calls == SMALL.iterations
    model = load_policy(base)
    fresh = tmp_path / "fresh"
    engine = TransformersSampler(model)
    train_ppo(model, None, LikesWord(), PROMPTS, engine, SMALL, fresh, work=tmp_path / "fresh-work")
    name = "adapter_model.safetensors"
    assert (out / name).read_bytes() == (fresh / name).read_bytes()


@pytest.fixture
def model(tmp_path: Path) -> PolicyModel:
    return load_policy(make_base(tmp_path / "base", scale=1.0))


def test_a_checkpoint_of_another_run_is_not_continued(model: PolicyModel, tmp_path: Path) -> None:
    engine = TransformersSampler(model)
    work = tmp_path / "work"
    train_ppo(model, None, LikesWord(), PROMPTS, engine, SMALL, tmp_path / "a", work=work)
    train_ppo(model, None, LikesWord("rude"), PROMPTS, engine, SMALL, tmp_path / "b", work=work)
    train_ppo(model, None, LikesWord("rude"), PROMPTS, engine, SMALL, tmp_path / "c", work=tmp_path / "fresh")
    a, b, c = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in "abc")
    assert b == c
    assert a != b

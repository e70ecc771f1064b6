import math
import re
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch
from tests.learner_models import demo, make_base, snapshot
from tests.learner_ppo import PROMPTS, SMALL, LikesWord
from torch import Tensor

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import make_batch
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.experience import BrokenRollout, draw_prompts, observe
from thumbwheel_learner.ppo.state import POLICY, REFERENCE, PpoRun, Updates
from thumbwheel_learner.ppo.train import NothingToPractise, train_ppo
from thumbwheel_learner.ppo.update import Steps, step_like_tensorflow
from thumbwheel_learner.reward.model import RewardScores
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.rollouts.sampler import TransformersSampler
from thumbwheel_learner.sft import demo_rows


@pytest.fixture
def model(tmp_path: Path) -> PolicyModel:
    return load_policy(make_base(tmp_path / "base", scale=1.0))


def share(model: PolicyModel, adapter: Path | None) -> float:
    rollouts = TransformersSampler(model).sample(adapter, PROMPTS, n=4, max_tokens=6, temperature=1.0, seed=99)
    return float(LikesWord().score([], [r.text for row in rollouts for r in row]).mean.mean())


def test_few_labels_bear_few_iterations_and_the_limit_stays() -> None:
    config = PpoConfig(iterations=16, prompts_per_iteration=32, answers_per_prompt=4, answers_per_label=2.0)
    assert [config.within(labels).iterations for labels in (0, 320, 5_000)] == [1, 5, 16]
    assert PpoConfig(iterations=16, answers_per_label=0.0).within(10).iterations == 16


@pytest.mark.parametrize(("critic", "answers"), [("frozen", 1), ("adapter", 1), ("frozen", 4)])
def test_ppo_raises_the_planted_reward(model: PolicyModel, tmp_path: Path, critic: str, answers: int) -> None:
    config = PpoConfig(
        lora=LoraConfig(4, 8),
        iterations=10,
        prompts_per_iteration=48 // answers,
        answers_per_prompt=answers,
        max_tokens=6,
        minibatch_answers=16,
        learning_rate=2e-2,
        kl_coef=0.01,
        critic=critic,  # type: ignore[arg-type]
    )
    before = share(model, None)
    folder, report = train_ppo(
        model, None, LikesWord(), PROMPTS, TransformersSampler(model), config, tmp_path / "out", work=tmp_path / "work"
    )
    assert report.stopped is None
    assert report.iterations == 10
    assert report.answers == 480
    assert share(model, folder) > 2 * before
    assert all(math.isfinite(v) for h in report.history for v in h.values())
    assert report.history[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert report.kl > 0


def test_the_budget_stops_the_run_and_throws_the_far_policy_away(model: PolicyModel, tmp_path: Path) -> None:
    config = PpoConfig(
        **(vars(SMALL) | {"learning_rate": 0.3, "kl_budget": 0.5, "iterations": 8, "target_step_kl": None})
    )
    folder, report = train_ppo(
        model, None, LikesWord(), PROMPTS, TransformersSampler(model), config, tmp_path / "out", work=tmp_path / "work"
    )
    assert report.stopped is not None
    assert "over the budget of 0.5" in report.stopped
    assert report.iterations < 8
    assert report.kl <= 0.5
    model.load("kept", folder)
    run = PpoRun(model, None, config)
    model.copy("kept", POLICY)
    rollouts = TransformersSampler(model).sample(folder, PROMPTS, n=1, max_tokens=6, temperature=1.0, seed=5)
    experience = observe(run, PROMPTS, [r for row in rollouts for r in row])
    gap = ((experience.logprobs - experience.reference) * experience.mask).sum(1).mean()
    assert float(gap) < 1.0


def test_a_rate_that_is_far_too_high_leaves_the_policy_in_its_trust_region(model: PolicyModel, tmp_path: Path) -> None:
    config = PpoConfig(**(vars(SMALL) | {"learning_rate": 0.5, "iterations": 4, "target_step_kl": 0.05}))
    engine, reward = TransformersSampler(model), LikesWord()
    folder, report = train_ppo(model, None, reward, PROMPTS, engine, config, tmp_path / "a", work=tmp_path / "w")
    assert report.stopped is None
    assert report.history[0]["steps_taken_back"] > 0
    rates = [step["learning_rate"] for step in report.history]
    assert rates[0] < model.rate(0.5), "it is quartered"
    wild = PpoConfig(**(vars(config) | {"target_step_kl": None}))
    _, away = train_ppo(model, None, reward, PROMPTS, engine, wild, tmp_path / "b", work=tmp_path / "x")
    assert report.history[-1]["kl"] < away.history[-1]["kl"] / 4
    again, _ = train_ppo(model, None, reward, PROMPTS, engine, config, tmp_path / "c", work=tmp_path / "y")
    assert (again / "adapter_model.safetensors").read_bytes() == (folder / "adapter_model.safetensors").read_bytes()


def test_a_rate_that_is_right_is_left_alone(model: PolicyModel, tmp_path: Path) -> None:
    engine, config = TransformersSampler(model), PpoConfig(**(vars(SMALL) | {"learning_rate": 2e-3}))
    _, report = train_ppo(model, None, LikesWord(), PROMPTS, engine, config, tmp_path / "a", work=tmp_path / "w")
    assert [step["steps_taken_back"] for step in report.history] == [0.0] * report.iterations


def test_a_quartered_rate_comes_back_when_steps_stay_near(model: PolicyModel) -> None:
    run = PpoRun(model, None, SMALL)
    run.rate_scale, run.updates = 1 / 16, Updates(taken_back=1)
    Steps(run, 1.0).recover()
    assert run.rate_scale == 1 / 16
    seen = []
    for _ in range(5):
        run.updates = Updates()
        Steps(run, 1.0).recover()
        seen.append(run.rate_scale)
    assert seen == [1 / 8, 1 / 4, 1 / 2, 1.0, 1.0]


def test_what_is_kept_is_the_mean_of_the_last_policies(model: PolicyModel, tmp_path: Path) -> None:
    config = PpoConfig(**(vars(SMALL) | {"iterations": 5, "averaged": 0.5}))
    policies: list[list[Tensor]] = []

    def look(run: PpoRun) -> None:
        policies.append([p.detach().clone() for p in run.model.parameters(POLICY)])

    folder, _ = train_ppo(
        model,
        None,
        LikesWord(),
        PROMPTS,
        TransformersSampler(model),
        config,
        tmp_path / "out",
        work=tmp_path / "work",
        on_iteration=look,
    )
    model.load("kept", folder)
    for n, kept in enumerate(model.parameters("kept")):
        expected = torch.stack([policy[n] for policy in policies[2:]]).mean(0)
        assert torch.allclose(kept.detach(), expected, atol=1e-6)
    assert not torch.equal(policies[-1][1], policies[2][1])


def test_one_odd_prompt_does_not_decide_a_step(model: PolicyModel) -> None:
    run = PpoRun(model, None, PpoConfig(**(vars(SMALL) | {"prompt_clip": 0.5})))
    assert run.bound([1.0, 2.0, 100.0], 0.5) == 2.0
    assert run.bound([3.0, 4.0], 0.5) == 3.0, "those of earlier minibatches count"
    assert run.state()["norms"] == [1.0, 2.0, 100.0, 3.0, 4.0]


def test_an_observer_sees_the_policy_of_every_iteration_and_again_after_a_kill(
    model: PolicyModel, tmp_path: Path
) -> None:
    class Killed(Exception):
        """As if the process had been killed."""

    seen: list[tuple[int, bytes]] = []
    engine, work = TransformersSampler(model), tmp_path / "work"
    config = PpoConfig(**(vars(SMALL) | {"averaged": 0.0}))

    def look(run: PpoRun) -> None:
        saved = run.model.save(POLICY, tmp_path / "seen")
        seen.append((run.iteration, (saved / "adapter_model.safetensors").read_bytes()))
        if len(seen) == 2:
            raise Killed

    out = tmp_path / "out"
    with pytest.raises(Killed):
        train_ppo(model, None, LikesWord(), PROMPTS, engine, config, out, work=work, on_iteration=look)
    train_ppo(model, None, LikesWord(), PROMPTS, engine, config, out, work=work, on_iteration=look)
    assert [iteration for iteration, _ in seen] == [1, 2, 2, 3]
    assert seen[1] == seen[2]
    assert len({policy for _, policy in seen}) == 3
    assert seen[-1][1] == (out / "adapter_model.safetensors").read_bytes()


def test_the_reference_stays_where_the_run_began(model: PolicyModel, tmp_path: Path) -> None:
    model.add("parent", LoraConfig(4, 8))
    with torch.no_grad():
        for parameter in model.parameters("parent"):
            parameter.add_(0.05)
    parent = model.save("parent", tmp_path / "parent")
    train_ppo(
        model,
        parent,
        LikesWord(),
        PROMPTS,
        TransformersSampler(model),
        SMALL,
        tmp_path / "out",
        work=tmp_path / "work",
    )
    for kept, old in zip(model.parameters(REFERENCE), model.parameters("parent"), strict=True):
        assert torch.equal(kept, old)
    assert any(
        not torch.equal(new, old) for new, old in zip(model.parameters(POLICY), model.parameters("parent"), strict=True)
    )


def test_demonstrations_keep_their_pull(tmp_path: Path) -> None:
    losses = []
    for weight in (0.0, 2.0):
        model = load_policy(make_base(tmp_path / f"base-{weight}", scale=1.0))
        rows = demo_rows(snapshot(demos=[demo(1, "order late", "sorry the refund")]), model, 64)
        config = PpoConfig(**(vars(SMALL) | {"sft_coef": weight}))
        work = tmp_path / f"work-{weight}"
        train_ppo(
            model,
            None,
            LikesWord(),
            PROMPTS,
            TransformersSampler(model),
            config,
            tmp_path / f"out-{weight}",
            work=work,
            demonstrations=rows,
        )
        with torch.no_grad(), model.using(POLICY):
            batch_loss = -model.score_answers(_batch(rows)).logprobs.mean()
        losses.append(float(batch_loss))
    assert losses[1] < losses[0] - 0.1


def _batch(rows):
    return make_batch([r.prompt for r in rows], [r.answer for r in rows], pad_id=0)


def test_every_logged_metric_is_explained_and_nothing_else(model: PolicyModel, tmp_path: Path) -> None:
    config = PpoConfig(**(vars(SMALL) | {"iterations": 1}))
    _, report = train_ppo(
        model, None, LikesWord(), PROMPTS, TransformersSampler(model), config, tmp_path / "out", work=tmp_path / "work"
    )
    page = (Path(__file__).parents[4] / "docs/algorithms/ppo.md").read_text(encoding="utf-8")
    rows = page.partition("## What is logged")[2].splitlines()
    keys = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in rows if row.startswith("| `")]
    assert {key for row in keys for key in row} == report.history[0].keys() | {"kept"}, "kept: not of every run"


def test_every_detail_has_a_source_and_names_code_that_is_there() -> None:
    page = (Path(__file__).parents[4] / "docs/algorithms/ppo.md").read_text(encoding="utf-8")
    table = page.partition("## Details")[2].partition("## What is logged")[0]
    rows = [row[1:-1].split(" | ") for row in table.splitlines() if row.startswith("| ")][2:]
    assert len(rows) > 30
    homes = {"PpoConfig": "ppo.config.PpoConfig", "PolicyModel": "model.policy.PolicyModel"}
    homes |= {
        name: f"model.{name}" for name in ("loading", "lora", "parallel", "policy", "recompute", "scoring", "tokens")
    }
    for detail, where, source in rows:
        assert source.strip(), detail
        for name in re.findall(r"`([\w.]+)`", where):
            first, *rest = name.split(".")
            resolve_name(".".join(["thumbwheel_learner", homes.get(first, f"ppo.{first}"), *rest]))


def test_unfinished_answers_are_punished(model: PolicyModel, tmp_path: Path) -> None:
    class Flat(LikesWord):
        def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
            return RewardScores(torch.zeros(len(answers)), torch.zeros(len(answers)), torch.zeros(len(answers), 1))

    config = PpoConfig(**(vars(SMALL) | {"iterations": 12, "prompts_per_iteration": 48, "max_tokens": 3}))
    _, report = train_ppo(
        model, None, Flat(), PROMPTS, TransformersSampler(model), config, tmp_path / "out", work=tmp_path / "work"
    )
    assert report.history[-1]["missing_end"] < report.history[0]["missing_end"] - 0.1


def test_every_prompt_is_practised_before_any_comes_again() -> None:
    config = PpoConfig(prompts_per_iteration=4)
    drawn = [i for iteration in range(5) for i in draw_prompts(10, iteration, config)]
    assert sorted(drawn[:10]) == list(range(10))
    assert sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]
    assert draw_prompts(3, 0, PpoConfig(prompts_per_iteration=7)) == draw_prompts(
        3, 0, PpoConfig(prompts_per_iteration=7)
    )


def test_adam_steps_as_tensorflow_does() -> None:
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(5))
    expected, m, v = parameter.detach().clone(), torch.zeros(5), torch.zeros(5)
    optimizer = torch.optim.Adam([parameter], lr=1.0, eps=1.0)
    for t in range(1, 6):
        gradient = torch.randn(5)
        parameter.grad = gradient.clone()
        step_like_tensorflow(optimizer, rate=0.01, eps=1e-2)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient.square()
        expected -= 0.01 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (v.sqrt() + 1e-2)
    assert torch.allclose(parameter.detach(), expected, atol=1e-6)


class Returns:
    """An engine that answers one thing."""

    def __init__(self, rollout: Rollout) -> None:
        self.rollout = rollout

    def sample(self, adapter: Path | None, prompts: Sequence[Sequence[int]], **how: object) -> list[list[Rollout]]:
        return [[self.rollout] for _ in prompts]


@pytest.mark.parametrize(
    "rollout", [Rollout([], [], True, ""), Rollout([5, 4], [-0.1], True, "yes"), Rollout([5], [math.nan], False, "yes")]
)
def test_an_engine_that_returns_nonsense_stops_the_run(model: PolicyModel, tmp_path: Path, rollout: Rollout) -> None:
    with pytest.raises(BrokenRollout):
        train_ppo(model, None, LikesWord(), PROMPTS, Returns(rollout), SMALL, tmp_path / "out", work=tmp_path / "work")


def test_prompts_that_are_all_too_long_are_an_error(model: PolicyModel, tmp_path: Path) -> None:
    config = PpoConfig(max_prompt=3)
    with pytest.raises(NothingToPractise, match="at most 3 tokens"):
        train_ppo(
            model, None, LikesWord(), PROMPTS, TransformersSampler(model), config, tmp_path / "o", work=tmp_path / "w"
        )

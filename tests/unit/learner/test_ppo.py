import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.learner_models import ARCHITECTURES, demo, make_base, snapshot

from thumbwheel_learner.lora import LoraConfig
from thumbwheel_learner.model import PolicyModel, load_policy
from thumbwheel_learner.ppo import BrokenRollout, NothingToPractise, draw_prompts, observe, train_ppo
from thumbwheel_learner.ppo_state import POLICY, REFERENCE, PpoConfig, PpoRun
from thumbwheel_learner.ppo_update import step_like_tensorflow
from thumbwheel_learner.reward import RewardScores
from thumbwheel_learner.rollout import Rollout
from thumbwheel_learner.sampler import TransformersSampler
from thumbwheel_learner.sft import demo_rows
from thumbwheel_learner.tokens import make_batch

SMALL = PpoConfig(
    lora=LoraConfig(4, 8),
    iterations=3,
    prompts_per_iteration=24,
    answers_per_prompt=1,
    max_tokens=6,
    minibatch_answers=8,
    learning_rate=1e-2,
    kl_target=2.0,
)
PROMPTS = [[2, a, b, 4, 3] for a in range(5, 11) for b in range(5, 9)]


class LikesWord:
    """A planted reward: the share of words that are the wanted one."""

    def __init__(self, word: str = "thanks", members: int = 2) -> None:
        self.word = word
        self.members = members

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        shares = [a.split().count(self.word) / max(1, len(a.split())) for a in answers]
        members = torch.tensor(shares)[:, None].repeat(1, self.members)
        return RewardScores(members.mean(1), members.std(1, correction=0), members)

    def identity(self) -> str:
        return self.word


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


@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_first_ratio_is_one_although_the_passes_are_padded_differently(
    tmp_path: Path, architecture: str, answers: int
) -> None:
    model = load_policy(make_base(tmp_path / "base", architecture=architecture))
    config = PpoConfig(
        lora=LoraConfig(4, 8),
        iterations=2,
        prompts_per_iteration=12 // answers,
        answers_per_prompt=answers,
        max_tokens=6,
        minibatch_answers=5,
        batch_tokens=40,
    )
    prompts = [[2, *range(5, 5 + n), 4, 3] for n in range(1, 7)]
    _, report = train_ppo(
        model, None, LikesWord(), prompts, TransformersSampler(model), config, tmp_path / "out", work=tmp_path / "work"
    )
    assert [h["first_ratio_error"] < 1e-5 for h in report.history] == [True, True]
    assert all(h["engine_gap"] < 1e-5 for h in report.history)
    assert all(h["importance_mean"] == pytest.approx(1.0, abs=1e-5) for h in report.history)


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


def test_a_checkpoint_of_another_run_is_not_continued(model: PolicyModel, tmp_path: Path) -> None:
    engine = TransformersSampler(model)
    work = tmp_path / "work"
    train_ppo(model, None, LikesWord(), PROMPTS, engine, SMALL, tmp_path / "a", work=work)
    train_ppo(model, None, LikesWord("rude"), PROMPTS, engine, SMALL, tmp_path / "b", work=work)
    train_ppo(model, None, LikesWord("rude"), PROMPTS, engine, SMALL, tmp_path / "c", work=tmp_path / "fresh")
    a, b, c = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in "abc")
    assert b == c
    assert a != b


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
    assert rates[0] < model.rate(0.5), "it is quartered for good"
    assert sorted(rates, reverse=True) == rates
    wild = PpoConfig(**(vars(config) | {"target_step_kl": None}))
    _, away = train_ppo(model, None, reward, PROMPTS, engine, wild, tmp_path / "b", work=tmp_path / "x")
    assert report.history[-1]["kl"] < away.history[-1]["kl"] / 4
    again, _ = train_ppo(model, None, reward, PROMPTS, engine, config, tmp_path / "c", work=tmp_path / "y")
    assert (again / "adapter_model.safetensors").read_bytes() == (folder / "adapter_model.safetensors").read_bytes()


def test_a_rate_that_is_right_is_left_alone(model: PolicyModel, tmp_path: Path) -> None:
    engine, config = TransformersSampler(model), PpoConfig(**(vars(SMALL) | {"learning_rate": 2e-3}))
    _, report = train_ppo(model, None, LikesWord(), PROMPTS, engine, config, tmp_path / "a", work=tmp_path / "w")
    assert [step["steps_taken_back"] for step in report.history] == [0.0] * report.iterations


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


def test_the_kl_estimate_is_within_five_percent_of_the_exact_one(tmp_path: Path) -> None:
    model = load_policy(make_base(tmp_path / "base", words=("yes", "no", "please"), scale=1.0))
    run = PpoRun(model, None, PpoConfig(lora=LoraConfig(4, 8), temperature=0.9))
    with torch.no_grad():
        for parameter in model.parameters(POLICY):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    prompt, longest = [2, 5, 6, 4, 3], 3
    vocabulary = range(8)
    words = [w for n in range(1, longest + 1) for w in itertools.product(vocabulary, repeat=n)]
    whole = [list(w) for w in words if 4 not in w[:-1] and (w[-1] == 4 or len(w) == longest)]
    batch = make_batch([prompt] * len(whole), whole, pad_id=0)
    logprobs = []
    for name in (POLICY, REFERENCE):
        with torch.no_grad(), model.using(name):
            logprobs.append(batch.unflatten(model.score_answers(batch, 0.9).logprobs).sum(1).double())
    mine, reference = logprobs
    assert float(mine.exp().sum()) == pytest.approx(1.0, abs=1e-4)
    exact = float((mine.exp() * (mine - reference)).sum())
    adapter = model.save(POLICY, tmp_path / "adapter")
    rollouts = TransformersSampler(model).sample(adapter, [prompt], n=600, max_tokens=3, temperature=0.9, seed=0)[0]
    estimate = float(observe(run, [prompt] * 600, rollouts).kl.sum(1).mean())
    assert exact > 0.1
    assert estimate == pytest.approx(exact, rel=0.05)


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

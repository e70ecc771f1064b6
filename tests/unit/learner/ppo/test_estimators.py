import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thumbwheel_learner.ppo.credit import at_the_end
from thumbwheel_learner.ppo.estimators import (
    KlController,
    gae,
    importance_weights,
    leave_one_out,
    masked_mean,
    token_rewards,
    whiten,
)

MASK = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])


def naive_gae(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """Straight from the definition: the sum over all later temporal differences."""
    ahead = [*values[1:], 0.0]
    deltas = [r + gamma * n - v for r, v, n in zip(rewards, values, ahead, strict=True)]
    return [sum((gamma * lam) ** k * d for k, d in enumerate(deltas[t:])) for t in range(len(deltas))]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.sampled_from([(1.0, 0.95), (0.9, 0.5)]),
)
def test_gae_equals_the_definition_row_by_row(seed: int, sizes: list[int], how: tuple[float, float]) -> None:
    torch.manual_seed(seed)
    mask = torch.arange(max(sizes))[None, :] < torch.tensor(sizes)[:, None]
    rewards, values = torch.randn(mask.shape) * mask, torch.randn(mask.shape) * mask
    advantages, returns = gae(rewards, values, mask, *how)
    for row, size in enumerate(sizes):
        expected = naive_gae(rewards[row, :size].tolist(), values[row, :size].tolist(), *how)
        assert advantages[row, :size].tolist() == pytest.approx(expected, abs=1e-5)
        assert returns[row, :size].tolist() == pytest.approx((advantages + values)[row, :size].tolist(), abs=1e-6)
        assert not advantages[row, size:].any()
        assert not returns[row, size:].any()


def test_whitening_ignores_padding_and_keeps_the_mean_on_request() -> None:
    x = torch.tensor([[1.0, 2.0, 6.0], [3.0, 99.0, 99.0], [4.0, 8.0, 99.0]])
    shifted, kept = whiten(x, MASK, shift_mean=True), whiten(x, MASK, shift_mean=False)
    assert float(masked_mean(shifted, MASK)) == pytest.approx(0.0, abs=1e-6)
    assert float(masked_mean(kept, MASK)) == pytest.approx(4.0, abs=1e-5)
    for scaled in (shifted, kept):
        assert float(scaled[MASK].var(correction=0)) == pytest.approx(1.0, abs=1e-4)
        assert not scaled[~MASK].any()


def test_the_score_lands_on_the_last_token_and_the_kl_term_on_every_one() -> None:
    kl = torch.full((3, 3), 0.5)
    rewards = token_rewards(torch.tensor([1.0, 2.0, 3.0]), kl, MASK, 0.1, at_the_end(MASK))
    assert torch.allclose(rewards, torch.tensor([[-0.05, -0.05, 0.95], [1.95, 0.0, 0.0], [-0.05, 2.95, 0.0]]))


def test_price_of_kl_rises_with_the_distance_beyond_the_target() -> None:
    controller = KlController(coef=0.1, target=6.0, horizon=1000)
    controller.update(6.6, answers=100)
    assert controller.coef == pytest.approx(0.1 * (1 + 0.1 * 0.1))
    controller = KlController(coef=0.1, target=6.0, horizon=1000)
    controller.update(600.0, answers=100)
    assert controller.coef == pytest.approx(0.1 * (1 + 0.1))


def test_price_of_kl_falls_slowly_and_never_below_the_first() -> None:
    controller = KlController(coef=0.1, target=6.0, horizon=1000)
    controller.coef = 0.5
    controller.update(0.0, answers=100)
    assert controller.coef == pytest.approx(0.5 * (1 - 0.2 * 0.1))
    controller.coef = 0.1001
    controller.update(0.0, answers=100)
    assert controller.coef == 0.1


def test_importance_weights_are_truncated_and_detached() -> None:
    trained = torch.zeros(3, 3, requires_grad=True)
    behaviour = torch.tensor([[0.0, -0.1, -5.0], [0.1, 7.0, 7.0], [0.0, 0.0, 7.0]])
    weights = importance_weights(trained, behaviour, MASK, cap=2.0)
    assert not weights.requires_grad
    assert weights[0].tolist() == pytest.approx([1.0, math.exp(0.1), 2.0])
    assert weights[1].tolist() == pytest.approx([math.exp(-0.1), 0.0, 0.0])


def test_an_answer_is_scored_against_the_other_answers_to_its_prompt() -> None:
    scores = torch.tensor([1.0, 2.0, 6.0, 10.0, 10.0, 10.0])
    assert leave_one_out(scores, 3).tolist() == [-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]
    assert leave_one_out(scores, 1).tolist() == scores.tolist()

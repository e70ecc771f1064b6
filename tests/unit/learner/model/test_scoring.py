"""Log-probabilities in chunks: the same numbers and slopes as by the book, whatever stands behind the head."""

import pytest
import torch
from torch import Tensor

from thumbwheel_learner.model.policy import Memory
from thumbwheel_learner.model.scoring import compare, token_scores

VOCABULARY, WIDTH, TOKENS = 23, 6, 11
WEIGHT = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(1))
STATES, OTHER = torch.randn(2, TOKENS, WIDTH, generator=torch.Generator().manual_seed(2))
TARGETS = torch.randint(VOCABULARY, (TOKENS,), generator=torch.Generator().manual_seed(3))


def plain(states: Tensor) -> Tensor:
    return states @ WEIGHT.T


def capped(states: Tensor) -> Tensor:
    return torch.tanh(states @ WEIGHT.T / 3) * 3


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("logits", [plain, capped])
def test_slopes_are_those_of_autograd_through_whole_logits(logits, temperature: float, chunk: int) -> None:
    grown = []
    weights = torch.linspace(-1, 2, TOKENS)
    for chunked in (True, False):
        states = STATES.clone().requires_grad_()
        if chunked:
            scores = token_scores(logits, states, TARGETS, temperature, chunk).logprobs
        else:
            scores = torch.log_softmax(logits(states) / temperature, -1)[torch.arange(TOKENS), TARGETS]
        (scores.square() * weights).sum().backward()
        grown.append((scores.detach(), states.grad))
    torch.testing.assert_close(grown[0], grown[1], atol=1e-5, rtol=1e-5)


def test_a_pass_with_gradients_gives_the_very_numbers_of_one_without() -> None:
    with_gradients = token_scores(plain, STATES.clone().requires_grad_(), TARGETS, 0.9, 4).logprobs
    assert torch.equal(with_gradients.detach(), token_scores(plain, STATES, TARGETS, 0.9, 4).logprobs)


def test_two_policies_are_compared_as_by_the_definitions() -> None:
    found = compare(plain, STATES, OTHER, TARGETS, 0.8, 3)
    p, q = (torch.log_softmax(plain(s) / 0.8, -1) for s in (STATES, OTHER))
    rows = torch.arange(TOKENS)
    torch.testing.assert_close(found.scores.logprobs, p[rows, TARGETS])
    torch.testing.assert_close(found.other, q[rows, TARGETS])
    torch.testing.assert_close(found.kl, (p.exp() * (p - q)).sum(-1))
    torch.testing.assert_close(found.scores.entropy, -(p.exp() * p).sum(-1))
    assert not compare(plain, STATES, STATES, TARGETS, 0.8, 3).kl.any()


def test_a_large_vocabulary_leaves_room_for_fewer_tokens() -> None:
    assert Memory().chunk(512) == 2048
    assert Memory().chunk(262_144) == 128
    assert Memory(logit_bytes=1).chunk(262_144) == 1

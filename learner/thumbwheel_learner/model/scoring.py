"""Probabilities of answer tokens in chunks: the logits of a large vocabulary are never there for all tokens at once."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

Logits = Callable[[Tensor], Tensor]
"""[n, D] states -> [n, V] float32; each row from its own state alone."""


class TokenScores(NamedTuple):
    """Per answer token, flat as in `Batch.rows`."""

    logprobs: Tensor
    """[N] log-probability of the token under the tempered policy, nats."""
    entropy: Tensor
    """[N] entropy of that distribution, nats, by `compare`; empty by `token_scores`, which is spared the passes."""


class Compared(NamedTuple):
    """One policy beside another on the same tokens."""

    scores: TokenScores
    """Of the first."""
    other: Tensor
    """[N] log-probability of the token under the second, nats."""
    kl: Tensor
    """[N] KL(first ‖ second), exact over the vocabulary, nats."""


def token_scores(logits: Logits, states: Tensor, targets: Tensor, temperature: float, chunk: int) -> TokenScores:
    """[N, D] hidden states that predict `targets` [N]; `chunk` tokens at a time, differentiable by the states."""
    if torch.is_grad_enabled() and states.requires_grad:
        logprobs = cast(Tensor, _ChosenLogprobs.apply(states, targets, logits, temperature, chunk))
    else:
        parts = zip(states.split(chunk), targets.split(chunk), strict=True)
        logprobs = torch.cat([_chosen(_log_softmax(logits, some, temperature), ids) for some, ids in parts])
    return TokenScores(logprobs, torch.empty(0, device=states.device))


@torch.no_grad()
def compare(logits: Logits, states: Tensor, other: Tensor, targets: Tensor, temperature: float, chunk: int) -> Compared:
    """What two policies' states [N, D] each make of `targets` [N], and how far apart they are; no gradients."""
    parts: list[Compared] = []
    for mine, theirs, ids in zip(states.split(chunk), other.split(chunk), targets.split(chunk), strict=True):
        p, q = (_log_softmax(logits, s, temperature) for s in (mine, theirs))
        chosen, of_other = (_chosen(x, ids) for x in (p, q))
        kl = (likely := p.exp()).mul(q.sub_(p)).sum(-1).neg_()
        parts.append(Compared(TokenScores(chosen, -likely.mul_(p).sum(-1)), of_other, kl))
    scores = TokenScores(*(torch.cat(x) for x in zip(*(p.scores for p in parts), strict=True)))
    return Compared(scores, torch.cat([p.other for p in parts]), torch.cat([p.kl for p in parts]))


class _ChosenLogprobs(torch.autograd.Function):
    """Log-probabilities whose slopes are taken while a chunk's logits are there, so that none is made twice.

    A token's log-probability depends on its own state alone, so one vector per token is all that the backward pass
    needs: d log p / d logits = onehot - p, handed back through the head. The idea is that of the fused losses of
    Hsu et al. 2024 (arXiv:2410.10989), here for every token instead of their mean, and for any head.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, logits: Logits, temperature: float, chunk: int) -> Tensor:
        chosen: list[Tensor] = []
        slopes = torch.empty_like(states)
        for some, ids, slope in zip(states.split(chunk), targets.split(chunk), slopes.split(chunk), strict=True):
            with torch.enable_grad():
                leaf = some.detach().requires_grad_()
                made = logits(leaf)
            logprobs = torch.log_softmax(made.detach() / temperature if temperature != 1 else made.detach(), dim=-1)
            chosen.append(_chosen(logprobs, ids))
            by_logits = logprobs.exp_().neg_()
            by_logits[torch.arange(len(ids), device=ids.device), ids] += 1
            if temperature != 1:
                by_logits /= temperature
            slope.copy_(torch.autograd.grad(made, leaf, by_logits)[0])
        ctx.save_for_backward(slopes)
        return torch.cat(chosen)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (gradients[0][:, None] * slopes).to(slopes.dtype), None, None, None, None


def _log_softmax(logits: Logits, states: Tensor, temperature: float) -> Tensor:
    made = logits(states)
    return torch.log_softmax(made / temperature if temperature != 1 else made, dim=-1)


def _chosen(logprobs: Tensor, targets: Tensor) -> Tensor:
    return logprobs.gather(-1, targets[:, None]).squeeze(-1)

"""What a prompt's better answers have in common: what PPO gives up first, though nobody asked it to."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


def resemblance(answers: Sequence[Sequence[int]], scores: Tensor, n: int) -> Tensor:
    """[B] share of an answer's token pairs that the prompt's other better answers have, too, on average over these.

    `answers` are token ids, those to a prompt `n` in a row, `scores` [B]. Better are those that score no less than the
    mean of the `n`; the others resemble nothing, 0, and so does the only better one. Taken from the scores it is worth
    something to say a good thing in another way (Li et al. 2025, arXiv:2509.02534, there by a learned classifier and as
    a factor).
    """
    pairs = [frozenset(pairwise(tokens)) or frozenset([(tokens[0],)]) for tokens in answers]
    out = torch.zeros(len(answers))
    for first in range(0, len(answers), n):
        group = range(first, first + n)
        mean = scores[first : first + n].mean()
        better = [i for i in group if scores[i] >= mean]
        for i in better:
            shared = [len(pairs[i] & pairs[other]) / len(pairs[i]) for other in better if other != i]
            out[i] = sum(shared) / len(shared) if shared else 0.0
    return out

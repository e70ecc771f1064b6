"""How much the answers to one prompt differ: what a policy loses when it is pressed towards a few good phrases."""

from collections.abc import Sequence
from itertools import pairwise

from thumbwheel_demo.wording import words


def distinct_answers(texts: Sequence[str]) -> float:
    """Share of different texts among the answers to one prompt, from 1 / n to 1. Raises `ValueError` without texts."""
    if not texts:
        raise ValueError("no answers to compare")
    return len(set(texts)) / len(texts)


def distinct_bigrams(texts: Sequence[str]) -> float:
    """Different word pairs in the answers to one prompt as a share of all their word pairs, upper and lower case alike.

    Distinct-2 of Li et al. 2016 (arXiv:1510.03055) with pairs in the denominator, taken prompt by prompt, so that
    versions can be compared on the same prompts. 0 where no answer has two words.
    """
    pairs = [pair for text in texts for pair in pairwise(word.lower() for word in words(text))]
    return len(set(pairs)) / len(pairs) if pairs else 0.0

"""How much two answers to one prompt differ: what a policy loses when it is pressed towards a few good phrases.

Means over every two of the answers, since more answers have more in common, and what is compared may have more of them:
a better policy has more that satisfy.
"""

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from statistics import fmean

from thumbwheel_demo.wording import words


def distinct_answers(texts: Sequence[str]) -> float:
    """Share of different texts among two answers, from a half to 1; 1 for one. Raises `ValueError` without texts."""
    return _of_two(lambda few: len(set(few)) / len(few), texts)


def distinct_bigrams(texts: Sequence[str]) -> float:
    """Different word pairs in two answers as a share of all their word pairs, upper and lower case alike.

    Distinct-2 of Li et al. 2016 (arXiv:1510.03055) with pairs in the denominator, taken prompt by prompt, so that
    versions can be compared on the same prompts. 0 where neither has two words. Raises `ValueError` without texts.
    """
    return _of_two(_share_of_different_pairs, texts)


def _of_two(figure: Callable[[Sequence[str]], float], texts: Sequence[str]) -> float:
    if not texts:
        raise ValueError("no answers to compare")
    return fmean(map(figure, combinations(texts, min(2, len(texts)))))


def _share_of_different_pairs(texts: Sequence[str]) -> float:
    pairs = [pair for text in texts for pair in pairwise(word.lower() for word in words(text))]
    return len(set(pairs)) / len(pairs) if pairs else 0.0

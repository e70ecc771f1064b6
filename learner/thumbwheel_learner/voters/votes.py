"""From labels to votes: who found which answer good or bad, and how many labels each user gave."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from thumbwheel_learner.dataset.examples import Judged, LoggedPrompt, Pair
from thumbwheel_learner.reward.labels import prompt_key

GOOD_RATING, BAD_RATING = 4, 2


class Vote(NamedTuple):
    """One user's word on one answer."""

    user: str
    item: str
    """Equal for equal answers in equal conversations."""
    up: bool
    text: str
    """The answer."""


def votes_of(judged: Iterable[Judged]) -> list[Vote]:
    """Thumbs, flags and ratings as votes, oldest first; of a user's votes on one answer the last one counts.

    A rating of 4 and more is an up-vote, of 2 and less a down-vote; 3 says neither and is left out.
    """
    last: dict[tuple[str, str], Vote] = {}
    for label in sorted(judged, key=lambda j: (j.created_ms, j.event_id)):
        up = _is_up(label)
        if up is None:
            continue
        item = item_key(label)
        last.pop((label.user, item), None)
        last[label.user, item] = Vote(label.user, item, up, label.answer)
    return list(last.values())


def item_key(label: Judged | LoggedPrompt) -> str:
    """What votes of several users are compared by, and what known answers (honeypots) are named by."""
    return f"{prompt_key(label.messages)}:{hashlib.sha256(label.answer.encode()).hexdigest()[:16]}"


def loads(judged: Sequence[Judged], pairs: Sequence[Pair]) -> Counter[str]:
    """Labels by user: thumbs, flags, ratings and comparisons.

    Corrections do not count: they are work, done by the few whose work it is, and are not cast by the hundred.
    """
    compared = (p.user for p in pairs if p.origin == "comparison")
    return Counter([*(j.user for j in judged), *compared])


def _is_up(label: Judged) -> bool | None:
    if label.kind != "rating":
        return label.value > 0.5
    return True if label.value >= GOOD_RATING else False if label.value <= BAD_RATING else None

"""The chats of a snapshot as P(vote) is estimated from them: who voted unasked, and what reviewers of the random slice
found, of voters and of those who kept silent."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thumbwheel_learner.dataset.examples import LoggedPrompt, Snapshot
from thumbwheel_learner.measures import Array
from thumbwheel_learner.propensity.model import Desk

INTENTS = 20
"""So many of the commonest have a feature of their own,"""
INTENT_CHATS = 20
"""if so many chats are about them."""

Key = tuple[str, str]
"""Conversation and answer."""


class Chats(NamedTuple):
    """Every logged answer once."""

    answers: list[LoggedPrompt]
    features: Array
    """[N, D] what is known of a chat whether or not it got a vote."""
    up: Array
    """[N] 1 or 0 for a thumb that nobody asked for, the last one; nan without."""
    satisfied: Array
    """[N] what a reviewer of the random slice found; nan elsewhere."""
    votes: list[list[str]]
    """[N] event ids of the thumbs that nobody asked for."""

    @property
    def voted(self) -> NDArray[np.bool_]:
        """[N]"""
        return ~np.isnan(self.up)

    @property
    def voted_on(self) -> list[LoggedPrompt]:
        """[V] the answers with a vote."""
        return [a for a, voted in zip(self.answers, self.voted.tolist(), strict=True) if voted]

    def desk(self, believed: Array | None) -> Desk:
        """With P(satisfied) [N] by somebody who has not seen these votes."""
        return Desk(self.features, self.voted, self.up, self.satisfied, believed)


def chats_of(snapshot: Snapshot) -> Chats:
    """Thumbs, and the random slice's thumbs and corrections, by the answer that they are about.

    A correction says that the answer was not good; ratings, flags and comparisons are left out, since they are no
    thumbs that somebody did not give.
    """
    answers = {(p.conversation_id, p.answer): p for p in snapshot.prompts}
    up: dict[Key, float] = {}
    satisfied: dict[Key, float] = {}
    votes: dict[Key, list[str]] = {}
    for pair in snapshot.pairs:
        if pair.random_slice and pair.origin == "correction":
            satisfied[pair.conversation_id, pair.rejected] = 0.0
    for judged in sorted(snapshot.judged, key=lambda j: (j.created_ms, j.event_id)):
        key = (judged.conversation_id, judged.answer)
        if judged.kind != "thumb":
            continue
        if judged.random_slice:
            satisfied[key] = judged.value
        elif judged.review_id is None:
            up[key] = judged.value
            votes.setdefault(key, []).append(judged.event_id)
    nan = float("nan")
    return Chats(
        answers=list(answers.values()),
        features=_features(list(answers.values())),
        up=np.array([up.get(key, nan) for key in answers]),
        satisfied=np.array([satisfied.get(key, nan) for key in answers]),
        votes=[votes.get(key, []) for key in answers],
    )


def _features(answers: Sequence[LoggedPrompt]) -> Array:
    """[N, D] lengths of question, answer and conversation, and the intent."""
    count = Counter(a.intent for a in answers if a.intent is not None)
    common = [intent for intent, chats in count.most_common(INTENTS) if chats >= INTENT_CHATS]
    rows = [
        [
            np.log1p(len(str(a.messages[-1].get("content") or ""))),
            np.log1p(len(a.answer)),
            np.log1p(len(a.messages)),
            *(float(a.intent == intent) for intent in common),
        ]
        for a in answers
    ]
    return np.array(rows, dtype=np.float64).reshape(len(answers), 3 + len(common))

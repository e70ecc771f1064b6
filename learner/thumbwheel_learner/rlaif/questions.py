"""Pairs of answers to ask about: those that people have judged, and those that nobody has."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from thumbwheel_learner.dataset.examples import LoggedPrompt, Messages, Pair
from thumbwheel_learner.reward.labels import prompt_key


class Question(NamedTuple):
    """Two answers to one conversation, ordered by their texts: the same question however it came about."""

    digest: str
    messages: Messages
    first: str
    second: str
    event_ids: frozenset[str]
    """Of the events whose words are in it."""
    conversation: str
    created_ms: int


class HumanPair(NamedTuple):
    """A question that a person has answered."""

    question: Question
    prefers_first: bool
    origin: str
    user: str


def human_pairs(pairs: Sequence[Pair]) -> list[HumanPair]:
    """Newest first; ties and equal answers are left out."""
    return [
        HumanPair(question, question.first == pair.chosen, pair.origin, pair.user)
        for pair in sorted(pairs, key=lambda p: (p.created_ms, p.event_id), reverse=True)
        if not pair.tie and pair.chosen != pair.rejected
        for question in (_of_human(pair),)
    ]


def digests(pairs: Sequence[Pair]) -> set[str]:
    """Of all questions on which a person has said anything, ties included."""
    return {_of_human(pair).digest for pair in pairs}


def logged_pairs(
    prompts: Sequence[LoggedPrompt], judged: Collection[str], per_prompt: int | None = None
) -> list[Question]:
    """Answers to equal prompts, each with the one that came up before it: choices of one turn, or of several turns.

    Questions whose digest is in `judged` are left out; of the others the newest `per_prompt` of each prompt are kept.
    Newest first.
    """
    answers: dict[str, dict[str, LoggedPrompt]] = defaultdict(dict)
    for prompt in sorted(prompts, key=lambda p: (p.created_ms, p.event_id)):
        same = answers[prompt_key(prompt.messages)]
        for text in (prompt.answer, *prompt.other_answers):
            if text.strip():
                same.setdefault(text, prompt)
    found: list[Question] = []
    for same in answers.values():
        asked = [_of_logged(same, older, newer) for older, newer in pairwise(same)]
        found += [question for question in reversed(asked) if question.digest not in judged][:per_prompt]
    return sorted(found, key=lambda q: (q.created_ms, q.digest), reverse=True)


def _of_human(pair: Pair) -> Question:
    events = frozenset({pair.event_id})
    return _question(pair.messages, pair.chosen, pair.rejected, events, pair.conversation_id, pair.created_ms)


def _of_logged(same: dict[str, LoggedPrompt], older: str, newer: str) -> Question:
    latest = same[newer]
    events = frozenset({latest.event_id, same[older].event_id})
    return _question(latest.messages, older, newer, events, latest.conversation_id, latest.created_ms)


def _question(
    messages: Messages, one: str, other: str, events: frozenset[str], conversation: str, created_ms: int
) -> Question:
    first, second = sorted((one, other))
    content = msgspec.json.encode([messages, first, second], order="deterministic")
    digest = hashlib.sha256(content).hexdigest()
    return Question(digest, messages, first, second, events, conversation, created_ms)

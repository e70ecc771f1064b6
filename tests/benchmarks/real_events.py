"""Events of the size of real ones, and fast: turns with tokens and log-probabilities, thumbs with prompt and answer."""

import random
from typing import Any

from thumbwheel.box import KEY_BYTES
from thumbwheel.bus import NewRecord
from thumbwheel.events import FEEDBACK, TURNS, FeedbackRecorded, TurnCompleted, encode, wrap
from thumbwheel.sealed import seal_feedback, seal_turn
from thumbwheel.types import Sampling, Thumb, TurnChoice

_WORDS = "the parcel your order arrives Friday please refund we have it not found invoice account tomorrow".split()
_SAMPLING = Sampling(
    temperature=1.0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    repetition_penalty=1.0,
    max_tokens=256,
)
_NUMBER = "@@@@@@@@"
"""Stands for the number of an event where it is written into the bytes of a template."""
_draw = random.Random(7)
_KEYS = {"0" * 32: b"k" * KEY_BYTES}
"""The boxes hold the template's number, and nobody opens them here."""


def _text(words: int) -> str:
    return " ".join(_draw.choices(_WORDS, k=words))


PROMPTS: list[list[dict[str, Any]]] = [
    [
        {"role": "system", "content": _text(60)},
        {"role": "user", "content": _text(20)},
        {"role": "assistant", "content": _text(60)},
        {"role": "user", "content": _text(30)},
    ]
    for _ in range(64)
]
"""Some 170 words each."""
ANSWERS = [_text(90) for _ in range(64)]


def _turn(place: int) -> bytes:
    tokens = 120
    choice = TurnChoice(
        index=0,
        text=ANSWERS[place],
        finish_reason="stop",
        token_ids=_draw.choices(range(100_000), k=tokens),
        logprobs=[-_draw.expovariate(1.0) for _ in range(tokens)],
    )
    turn = TurnCompleted(
        completion_id=f"chatcmpl-{_NUMBER}",
        conversation_id=f"conv-{_NUMBER}",
        policy_version="base",
        status="complete",
        origin="chat",
        created_ms=1_750_000_000_000,
        finished_ms=1_750_000_001_500,
        messages=PROMPTS[place],
        choices=[choice],
        model="thumbwheel",
        user=f"user-{_NUMBER}",
        prompt_token_ids=_draw.choices(range(100_000), k=230),
        sampling=_SAMPLING,
    )
    return encode(wrap(seal_turn(turn, _KEYS), event_id=f"ev-turn-{_NUMBER}"))


def _thumb(place: int, revision: int) -> bytes:
    vote = Thumb(completion_id=f"chatcmpl-{_NUMBER}", user=f"user-{_NUMBER}", value="up" if revision > 1 else "down")
    event = FeedbackRecorded(
        feedback_id=f"fb-{_NUMBER}",
        revision=revision,
        retracted=False,
        feedback=vote,
        created_ms=1_750_000_010_000,
        completion_id=vote.completion_id,
        conversation_id=f"conv-{_NUMBER}",
        policy_version="base",
        turn_status="complete",
        messages=PROMPTS[place],
        answer=ANSWERS[place],
        turn_created_ms=1_750_000_000_000,
    )
    return encode(wrap(seal_feedback(event, _KEYS), event_id=f"ev-thumb-{_NUMBER}-{revision}"))


_TURNS = [_turn(place) for place in range(64)]
_THUMBS = {revision: [_thumb(place, revision) for place in range(64)] for revision in (1, 2)}


def record(number: int) -> NewRecord:
    """Number `number` of an endless stream: two turns, then a thumb on the second of them, and so on.

    One thumb of ten is the changed mind of an earlier one, and one record of a hundred comes twice.
    """
    if number % 100 == 99:
        return record(number - 50)
    if number % 3 != 2:
        return _filled(_TURNS, number, "conv", "ev-turn-{}", TURNS.name)
    if number % 30 == 29:
        return _filled(_THUMBS[2], number - 16, "fb", "ev-thumb-{}-2", FEEDBACK.name)
    return _filled(_THUMBS[1], number - 1, "fb", "ev-thumb-{}-1", FEEDBACK.name)


def _filled(templates: list[bytes], number: int, key: str, event_id: str, topic: str) -> NewRecord:
    name = f"{number:0{len(_NUMBER)}}"
    value = templates[number % len(templates)].replace(_NUMBER.encode(), name.encode())
    return NewRecord(topic, f"{key}-{name}", event_id.format(name), value)

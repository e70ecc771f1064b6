"""The one door to what is stored: turns and feedback come out of it without what the rules find."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from thumbwheel.events import TurnCompleted
from thumbwheel.types import (
    BODY_KEY,
    COMMENT_LENGTH,
    LABEL_LENGTH,
    METADATA_KEY_LENGTH,
    METADATA_VALUE_LENGTH,
    TEXT_LENGTH,
    Demonstration,
    Feedback,
    Metadata,
    Thumb,
    TurnChoice,
)
from thumbwheel_service.redaction import FIELDS
from thumbwheel_service.redaction.cleared import Cleared
from thumbwheel_service.redaction.rules import Rule
from thumbwheel_service.redaction.scrubber import Found, Scrubber
from thumbwheel_service.redaction.values import Values

T = TypeVar("T")
Observer = Callable[[Mapping[str, int]], None]
_LENGTHS = {"comment": COMMENT_LENGTH, "text": TEXT_LENGTH, "other_text": TEXT_LENGTH}
_NOT_IN_THE_PROMPT = ("messages", "metadata", "user", "model", BODY_KEY)
"""Or looked at already: the messages."""
_body = msgspec.json.Decoder(dict[str, Any])


class Beside(NamedTuple):
    """What a turn's token ids hold and its texts do not."""

    body: bytes
    """The request: tools and documents are part of the prompt."""
    sampled: Sequence[str]
    """The choices as sampled: reasoning and calls included."""


class Redactor:
    """Takes personal data out of the fields that the settings name; without rules it lets everything through.

    The work is done in threads: a large text holds up neither the event loop nor the writer.
    """

    def __init__(self, rules: Sequence[Rule], fields: Collection[str] = FIELDS) -> None:
        self._rules = rules
        self._fields = frozenset(fields)
        self._values = Values(Scrubber(rules))
        self._observers: list[Observer] = []

    def observe(self, observer: Observer) -> None:
        """Tell how many places were redacted, by kind, whenever there were any; may be called in any thread."""
        self._observers.append(observer)

    async def turn(self, turn: TurnCompleted, beside: Beside | None = None) -> Cleared[TurnCompleted]:
        """The turn as it may be stored; a redacted one has no token ids and no log-probabilities."""
        if not self._rules:
            return Cleared(turn)
        return Cleared(await asyncio.to_thread(self._observed, lambda found: self._turn(turn, beside, found)))

    async def feedback(self, feedback: Feedback) -> Cleared[Feedback]:
        """The feedback as it may be stored."""
        if not self._rules:
            return Cleared(feedback)
        return Cleared(await asyncio.to_thread(self._observed, lambda found: self._feedback(feedback, found)))

    def again(self, stored: TurnCompleted) -> TurnCompleted:
        """What a stored turn would be by the rules of today, which may be others than those it was stored under."""
        return self._turn(stored, None, Counter()) if self._rules else stored

    def _observed(self, clear: Callable[[Found], T]) -> T:
        found: Found = Counter()
        cleared = clear(found)
        if found:
            for observer in self._observers:
                observer(found)
        return cleared

    def _turn(self, turn: TurnCompleted, beside: Beside | None, found: Found) -> TurnCompleted:
        messages, choices, metadata = turn.messages, turn.choices, turn.metadata
        if "messages" in self._fields:
            messages = self._values.message(messages, found)
        if "answers" in self._fields:
            choices = [self._choice(choice, found) for choice in choices]
        if "metadata" in self._fields:
            metadata = self._metadata(metadata, found)
        if not found and (beside is None or not self._hides(beside)):
            return turn
        return replace(
            turn,
            messages=messages,
            choices=[replace(choice, token_ids=None, logprobs=None) for choice in choices],
            metadata=metadata,
            prompt_token_ids=None,
            redacted=True,
        )

    def _choice(self, choice: TurnChoice, found: Found) -> TurnChoice:
        text = self._values.text(choice.text, found)
        return replace(choice, text=text, tool_calls=self._values.message(choice.tool_calls, found))

    def _hides(self, beside: Beside) -> bool:
        """Whether the token ids would give away what is not in the turn's texts."""
        found: Found = Counter()
        if "messages" in self._fields:
            body = {key: value for key, value in _body.decode(beside.body).items() if key not in _NOT_IN_THE_PROMPT}
            self._values.message(body, found)
        if "answers" in self._fields:
            for text in beside.sampled:
                self._values.text(text, found)
        return bool(found)

    def _feedback(self, given: Feedback, found: Found) -> Feedback:
        changes: dict[str, Any] = {}
        if "feedback" in self._fields:
            for name, length in _LENGTHS.items():
                if (text := getattr(given, name, None)) is not None:
                    changes[name] = self._values.text(text, found)[:length]
            if isinstance(given, Thumb):
                changes["reasons"] = [self._values.text(reason, found)[:LABEL_LENGTH] for reason in given.reasons]
        if "messages" in self._fields and isinstance(given, Demonstration):
            changes["messages"] = self._values.message(given.messages, found)
        if "metadata" in self._fields:
            changes["metadata"] = self._metadata(given.metadata, found)
        return replace(given, **changes) if found else given

    def _metadata(self, metadata: Metadata, found: Found) -> Metadata:
        """A placeholder may be longer than what it stands for; the limits of the wire hold all the same."""
        pairs = self._values.pairs(metadata, found)
        if pairs is metadata:
            return metadata
        return {key[:METADATA_KEY_LENGTH]: value[:METADATA_VALUE_LENGTH] for key, value in pairs.items()}

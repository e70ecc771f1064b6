"""What a piece of feedback or a turn becomes in a file: one row, or the reason why it makes none.

The datasets library infers the columns of a JSONL file from its beginning. So every row has every column, and a text
that is not known is empty instead of null.
"""

from typing import Any, NamedTuple, cast

import msgspec

from thumbwheel.errors import ThumbwheelError
from thumbwheel.types import Comparison, Correction, Demonstration, FeedbackRecord, Message, Thumb, Turn

Row = dict[str, Any]
_TALKING = ("system", "developer", "user", "assistant")


class LeftOut(ThumbwheelError):
    """It makes no row; the message is the reason under which it is counted."""


class Told(NamedTuple):
    """A piece of feedback, and the turns that it speaks of as far as the service has them."""

    record: FeedbackRecord
    turn: Turn | None = None
    other: Turn | None = None


def preference(told: Told) -> Row:
    """TRL's conversational preference with an explicit prompt; raises `LeftOut`."""
    given = told.record.feedback
    turn = _ended(told.turn)
    if isinstance(given, Correction):
        chosen, rejected = given.text, _answer(turn, given.choice)
    elif isinstance(given, Comparison):
        chosen, rejected = _compared(given, turn, told.other)
    else:
        raise LeftOut("no preference")
    if chosen.strip() == rejected.strip():
        raise LeftOut("both answers are the same")
    return {
        "prompt": plain(turn.messages),
        "chosen": _said(chosen),
        "rejected": _said(rejected),
        **_origin(told.record),
    }


def thumb(told: Told) -> Row:
    """TRL's conversational unpaired preference; raises `LeftOut`."""
    given = told.record.feedback
    if not isinstance(given, Thumb):
        raise LeftOut("no thumb")
    turn = _ended(told.turn)
    return {
        "prompt": plain(turn.messages),
        "completion": _said(_answer(turn, given.choice)),
        "label": given.value == "up",
        "reasons": ", ".join(given.reasons),
        "comment": given.comment or "",
        **_origin(told.record),
    }


def correction(told: Told) -> Row:
    """TRL's conversational prompt with its completion, for SFT; raises `LeftOut`."""
    given = told.record.feedback
    if isinstance(given, Demonstration):
        messages = given.messages
    elif isinstance(given, Correction):
        messages = _ended(told.turn).messages
    else:
        raise LeftOut("no correction")
    return {"prompt": plain(messages), "completion": _said(given.text), **_origin(told.record)}


def whole_turn(turn: Turn) -> Row:
    """Everything that was recorded of a turn, and the feedback that stands; raises `LeftOut`."""
    row = msgspec.structs.asdict(_ended(turn))
    row["choices"] = [msgspec.structs.asdict(choice) for choice in turn.choices]
    row["sampling"] = None if turn.sampling is None else msgspec.structs.asdict(turn.sampling)
    row["feedback"] = [msgspec.to_builtins(record) for record in turn.feedback if not record.retracted]
    return row


def plain(messages: list[Message]) -> list[Row]:
    """The messages as roles and texts, the one form in which all rows are alike; raises `LeftOut` for what is more."""
    if not messages:
        raise LeftOut("no prompt")
    return [{"role": message.get("role"), "content": _text(message)} for message in messages]


def _text(message: Message) -> str:
    """A list of text parts reads as it was served: joined by line ends."""
    content = message.get("content")
    parts = cast("list[Any]", content) if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [cast("Row", part).get("text") for part in parts if isinstance(part, dict)]
    spoken = message.get("role") in _TALKING and not message.get("tool_calls")
    if not spoken or len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        raise LeftOut("more than text (tools, images)")
    return "\n".join(cast("list[str]", texts))


def _ended(turn: Turn | None) -> Turn:
    """A turn whose answer was cut short by its reader counts: it is what the feedback speaks of."""
    if turn is None:
        raise LeftOut("the service has no such turn")
    if turn.status == "lost":
        raise LeftOut("lost turn")
    if turn.status == "open":
        raise LeftOut("still being answered")
    return turn


def _answer(turn: Turn, index: int) -> str:
    choice = next((choice for choice in turn.choices if choice.index == index), None)
    if choice is not None and choice.tool_calls:
        raise LeftOut("more than text (tools, images)")
    if choice is None or not choice.text.strip():
        raise LeftOut("empty answer")
    return choice.text


def _compared(given: Comparison, turn: Turn, other: Turn | None) -> tuple[str, str]:
    if given.value == "tie":
        raise LeftOut("tie")
    this = _answer(turn, given.choice)
    if given.other_text is not None:
        that = given.other_text
    else:
        beside = _ended(other)
        if beside.messages != turn.messages:
            raise LeftOut("answers to different prompts")
        that = _answer(beside, given.other_choice)
    return (this, that) if given.value == "this" else (that, this)


def _said(text: str) -> list[Row]:
    return [{"role": "assistant", "content": text}]


def _origin(record: FeedbackRecord) -> Row:
    """Where a row comes from, in columns that no trainer reads."""
    return {
        "kind": record.kind,
        "source": record.feedback.source,
        "user": record.feedback.user or "",
        "feedback_id": record.feedback_id,
        "completion_id": record.completion_id or "",
        "policy_version": record.policy_version or "",
        "created_ms": record.created_ms,
    }

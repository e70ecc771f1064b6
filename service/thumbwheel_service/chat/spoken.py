"""What the client was told, choice by choice: read back from the answer as it goes out."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from thumbwheel.types import BODY_KEY, ChatStamp, TurnChoice
from thumbwheel_service.engine.protocol import ChoiceTrace, Trace

PREFIX = "data: "
DONE = "data: [DONE]\n\n"
_END = "}\n\n"


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(Struct):
    index: int = 0
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Delta(Struct):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _ChunkChoice(Struct):
    index: int
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(Struct):
    choices: list[_ChunkChoice] = []


class _Told(Struct):
    text: str = ""
    finish_reason: str | None = None
    tool_calls: dict[int, _ToolCall] = {}


_chunk_decoder = msgspec.json.Decoder(_Chunk)


def stamp_event(event: str, stamp: ChatStamp) -> str:
    """Put our key into the first chunk of a stream."""
    return f'{event.removesuffix(_END)},"{BODY_KEY}":{msgspec.json.encode(stamp).decode()}{_END}'


class Spoken:
    """Collects texts, tool calls and finish reasons of every choice."""

    def __init__(self) -> None:
        self._told: dict[int, _Told] = {}

    def hear_event(self, event: str) -> None:
        """Take in one server-sent event of a stream."""
        if event == DONE:
            return
        for choice in _chunk_decoder.decode(event[len(PREFIX) :]).choices:
            told = self._told.setdefault(choice.index, _Told())
            told.text += choice.delta.content or ""
            told.finish_reason = choice.finish_reason or told.finish_reason
            for call in choice.delta.tool_calls or ():
                _merge(told.tool_calls, call)

    def hear_answer(self, body: dict[str, Any]) -> None:
        """Take in a whole answer."""
        for choice in body["choices"]:
            message = choice["message"]
            calls = msgspec.convert(message.get("tool_calls") or [], list[_ToolCall])
            self._told[choice["index"]] = _Told(
                text=message.get("content") or "",
                finish_reason=choice["finish_reason"],
                tool_calls=dict(enumerate(calls)),
            )

    def finished(self, n: int) -> bool:
        """Whether each of `n` choices came to an end of its own."""
        ends = [told.finish_reason for told in self._told.values()]
        return len(ends) == n and all(reason not in (None, "abort") for reason in ends)

    def choices(self, trace: Trace) -> list[TurnChoice]:
        """Every choice with what was told and what was sampled; a choice nothing was sampled for is left out."""
        indices: Sequence[int] = sorted({*self._told, *trace.choices})
        found = [self._choice(index, trace) for index in indices]
        return [c for c in found if c.text or c.token_ids or c.finish_reason or c.tool_calls]

    def _choice(self, index: int, trace: Trace) -> TurnChoice:
        told, sampled = self._told.get(index), trace.choices.get(index)
        text = told.text if told is not None else (sampled.text if sampled is not None else "")
        reason = (told.finish_reason if told is not None else None) or (sampled.finish_reason if sampled else None)
        exact = trace.exact and sampled is not None and _matches(sampled)
        return TurnChoice(
            index=index,
            text=text,
            finish_reason=reason,
            token_ids=sampled.token_ids if sampled is not None and exact else None,
            logprobs=sampled.logprobs if sampled is not None and exact else None,
            tool_calls=[_as_openai(call) for call in told.tool_calls.values()] if told is not None else [],
        )


def _matches(sampled: ChoiceTrace) -> bool:
    """One finite log-probability per token: JSON has no NaN, and nothing could be learned from one."""
    return len(sampled.logprobs) == len(sampled.token_ids) and all(map(math.isfinite, sampled.logprobs))


def _merge(calls: dict[int, _ToolCall], delta: _ToolCall) -> None:
    """Streams bring a call's id and name first and its arguments in pieces."""
    known = calls.setdefault(delta.index, _ToolCall(index=delta.index, function=_Function()))
    known.id = delta.id or known.id
    known.type = delta.type or known.type
    if delta.function is not None:
        function = known.function or _Function()
        function.name = delta.function.name or function.name
        function.arguments = (function.arguments or "") + (delta.function.arguments or "")
        known.function = function


def _as_openai(call: _ToolCall) -> dict[str, Any]:
    function = call.function or _Function()
    return {
        "id": call.id,
        "type": call.type or "function",
        "function": {"name": function.name, "arguments": function.arguments or ""},
    }

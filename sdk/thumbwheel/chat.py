"""Chat answers, whole and streamed: typed views of OpenAI's bodies that know which policy answered."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from thumbwheel.errors import StreamBroken, UnexpectedAnswer, api_error
from thumbwheel.types import BODY_KEY, COMPLETION_HEADER, CONVERSATION_HEADER, VERSION_HEADER, ChatStamp


class Usage(Struct, frozen=True):
    """Tokens of a chat."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    total_tokens: int = 0


class ChatChoice(Struct, frozen=True, kw_only=True):
    """One of the `n` answers."""

    index: int
    text: str
    finish_reason: str | None
    tool_calls: list[dict[str, Any]]
    logprobs: dict[str, Any] | None
    raw: dict[str, Any]


class ChatResult(Struct, frozen=True, kw_only=True):
    """A whole answer; `text` is that of the first choice, empty when it only calls tools."""

    text: str
    completion_id: str
    policy_version: str
    conversation_id: str
    choices: list[ChatChoice]
    usage: Usage | None
    raw: dict[str, Any]


class ChatChunk(Struct, frozen=True, kw_only=True):
    """One streamed piece; `text` is what it adds to the first choice."""

    text: str
    choices: list[dict[str, Any]]
    usage: Usage | None
    raw: dict[str, Any]


def stamp_of(headers: Mapping[str, str], body: Mapping[str, Any] | None = None) -> ChatStamp | None:
    """Who answered, by the body's namespaced key, else by the headers; None when neither says."""
    ours = (body or {}).get(BODY_KEY)
    if isinstance(ours, dict):
        try:
            return msgspec.convert(ours, ChatStamp)
        except msgspec.ValidationError:
            pass
    completion_id = headers.get(COMPLETION_HEADER)
    if not completion_id:
        return None
    return ChatStamp(
        completion_id=completion_id,
        policy_version=headers.get(VERSION_HEADER, ""),
        conversation_id=headers.get(CONVERSATION_HEADER, ""),
    )


class _Message(Struct):
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Whole(Struct):
    message: _Message
    index: int = 0
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _Body(Struct):
    id: str
    choices: list[_Whole]
    usage: Usage | None = None


def read_result(body: bytes, headers: Mapping[str, str]) -> ChatResult:
    """A chat completion's body; raises `UnexpectedAnswer`."""
    try:
        raw = msgspec.json.decode(body, type=dict[str, Any])
        whole = msgspec.convert(raw, _Body)
    except msgspec.MsgspecError as error:
        raise UnexpectedAnswer(f"not a chat completion: {error}") from error
    stamp = stamp_of(headers, raw) or ChatStamp(completion_id=whole.id, policy_version="", conversation_id="")
    choices = [
        ChatChoice(
            index=choice.index,
            text=choice.message.content or "",
            finish_reason=choice.finish_reason,
            tool_calls=choice.message.tool_calls or [],
            logprobs=choice.logprobs,
            raw=said,
        )
        for choice, said in zip(whole.choices, raw["choices"], strict=True)
    ]
    return _result(stamp, choices, whole.usage, raw)


def _result(stamp: ChatStamp, choices: list[ChatChoice], usage: Usage | None, raw: dict[str, Any]) -> ChatResult:
    return ChatResult(
        text=choices[0].text if choices else "",
        completion_id=stamp.completion_id,
        policy_version=stamp.policy_version,
        conversation_id=stamp.conversation_id,
        choices=choices,
        usage=usage,
        raw=raw,
    )


class _FunctionPiece(Struct):
    name: str | None = None
    arguments: str | None = None


class _CallPiece(Struct):
    index: int = 0
    id: str | None = None
    type: str | None = None
    function: _FunctionPiece | None = None


class _Delta(Struct):
    content: str | None = None
    tool_calls: list[_CallPiece] | None = None


class _Piece(Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _ChunkBody(Struct):
    id: str = ""
    choices: list[_Piece] | None = None
    usage: Usage | None = None


class _Growing:
    """One choice of a stream as it grows."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self._finish_reason: str | None = None
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: list[Any] = []

    def add(self, piece: _Piece) -> str:
        delta = piece.delta or _Delta()
        text = delta.content or ""
        self.text.append(text)
        self._finish_reason = piece.finish_reason or self._finish_reason
        self._logprobs += (piece.logprobs or {}).get("content") or []
        for call in delta.tool_calls or []:
            self._grow_call(call)
        return text

    def _grow_call(self, piece: _CallPiece) -> None:
        """Join the pieces of a tool call: its arguments arrive in parts, everything else once."""
        call = self._calls.setdefault(piece.index, {"function": {"name": "", "arguments": ""}})
        given = piece.function or _FunctionPiece()
        call["function"]["name"] += given.name or ""
        call["function"]["arguments"] += given.arguments or ""
        if piece.id:
            call["id"] = piece.id
        if piece.type:
            call["type"] = piece.type

    def finished(self, index: int) -> ChatChoice:
        text = "".join(self.text)
        calls = [self._calls[at] for at in sorted(self._calls)]
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = calls
        logprobs = {"content": self._logprobs} if self._logprobs else None
        return ChatChoice(
            index=index,
            text=text,
            finish_reason=self._finish_reason,
            tool_calls=calls,
            logprobs=logprobs,
            raw={"index": index, "message": message, "finish_reason": self._finish_reason, "logprobs": logprobs},
        )


class _ErrorEvent(Struct):
    code: int | str | None = None


def _status_in(error: Any) -> int:
    """The HTTP status that an error event would have been, had the answer not begun already."""
    try:
        code = msgspec.convert(error, _ErrorEvent).code
    except msgspec.ValidationError:
        return 500
    return code if isinstance(code, int) and 400 <= code < 600 else 500


class StreamState:
    """What a stream has said so far: fed with bytes, it yields chunks, and knows whether the stream ended properly."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._buffer = b""
        self._data: list[bytes] = []
        self._choices: dict[int, _Growing] = {}
        self._usage: Usage | None = None
        self._first: dict[str, Any] = {}
        self.stamp = stamp_of(headers)
        self.done = False

    def feed(self, received: bytes) -> Iterator[ChatChunk]:
        """Chunks completed by these bytes; raises `ApiError` on an error event, `UnexpectedAnswer`."""
        *lines, self._buffer = (self._buffer + received).split(b"\n")
        for line in lines:
            event = self._line(line.rstrip(b"\r"))
            if event is not None and not self.done:
                chunk = self._event(event)
                if chunk is not None:
                    yield chunk

    def _line(self, line: bytes) -> bytes | None:
        """Server-sent events: `data:` lines gather until an empty line ends the event; comments are skipped."""
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            return None
        if line or not self._data:
            return None
        event, self._data = b"\n".join(self._data), []
        return event

    def _event(self, event: bytes) -> ChatChunk | None:
        if event.strip() == b"[DONE]":
            self.done = True
            return None
        try:
            raw = msgspec.json.decode(event, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise UnexpectedAnswer(f"a stream event is not JSON: {error}") from error
        if raw.get("error"):
            raise api_error(_status_in(raw["error"]), raw, self._headers)
        return self._chunk(raw)

    def _chunk(self, raw: dict[str, Any]) -> ChatChunk:
        try:
            body = msgspec.convert(raw, _ChunkBody)
        except msgspec.ValidationError as error:
            raise UnexpectedAnswer(f"not a chat chunk: {error}") from error
        if not self._first:
            self._first = raw
            self.stamp = stamp_of(self._headers, raw) or ChatStamp(
                completion_id=body.id, policy_version="", conversation_id=""
            )
        text = ""
        for piece in body.choices or []:
            added = self._choices.setdefault(piece.index, _Growing()).add(piece)
            text += added if piece.index == 0 else ""
        self._usage = body.usage or self._usage
        return ChatChunk(text=text, choices=raw.get("choices") or [], usage=body.usage, raw=raw)

    def check_ended(self) -> None:
        """Raises `StreamBroken` unless `[DONE]` was seen."""
        if not self.done:
            raise StreamBroken("the stream ended before [DONE]; the answer is incomplete")

    @property
    def text(self) -> str:
        """The first choice so far."""
        return "".join(self._choices[0].text) if 0 in self._choices else ""

    def result(self) -> ChatResult:
        """The whole answer, joined; raises `StreamBroken` unless `[DONE]` was seen."""
        self.check_ended()
        stamp = self.stamp or ChatStamp(completion_id="", policy_version="", conversation_id="")
        choices = [self._choices[index].finished(index) for index in sorted(self._choices)]
        raw = {name: value for name, value in self._first.items() if name != "choices"}
        raw["choices"] = [choice.raw for choice in choices]
        return _result(stamp, choices, self._usage, raw)

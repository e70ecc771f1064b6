"""Requests and how to read their answers, as plain values: both clients send the same ones."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar, Unpack
from urllib.parse import quote
from uuid import uuid4

import msgspec
from msgspec import Struct

from thumbwheel import routes, types
from thumbwheel.chat import ChatResult, read_result
from thumbwheel.errors import ConfigurationError, UnexpectedAnswer
from thumbwheel.options import FeedbackQuery, ReviewQuery, TurnQuery, as_messages

T = TypeVar("T")
Query = Mapping[str, str | int | Sequence[str]]
Stage = Literal["sft", "reward", "ppo"]


class Call(Struct, Generic[T], frozen=True, kw_only=True):
    """One logical request: what to send, how to read the answer, and whether sending it twice is harmless."""

    method: str
    path: str
    read: Callable[[bytes, Mapping[str, str]], T]
    """Body and headers of a success to the typed result."""
    repeatable: bool
    """Applied at most once however often it is sent: by its method or by its idempotency key."""
    query: Query = {}
    headers: Mapping[str, str] = {}
    content: bytes | None = None


def _reader(kind: type[T]) -> Callable[[bytes, Mapping[str, str]], T]:
    decoder = msgspec.json.Decoder(kind)

    def read(body: bytes, _headers: Mapping[str, str]) -> T:
        try:
            return decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise UnexpectedAnswer(f"not a {kind.__name__}: {error}") from error

    return read


_record = _reader(types.FeedbackRecord)
_history = _reader(types.FeedbackHistory)
_feedback_page = _reader(types.FeedbackPage)
_batch = _reader(types.FeedbackBatchResult)
_turn = _reader(types.Turn)
_turn_page = _reader(types.TurnPage)
_review_page = _reader(types.ReviewPage)
_policies = _reader(types.PolicyList)
_erasure = _reader(types.Erasure)
_erasures = _reader(types.ErasureList)
_policy = _reader(types.PolicyVersion)
_status = _reader(types.ServiceStatus)
_command = _reader(types.LearnerCommandIn)


def _fill(path: str, **parts: str) -> str:
    for name, part in parts.items():
        if not part:
            raise ConfigurationError(f"{name} is empty")
    return path.format(**{name: quote(part, safe="") for name, part in parts.items()})


def _narrowed(cursor: str | None, wanted: Mapping[str, Any]) -> Query:
    """Parameters of a page as the service spells them; raises `ConfigurationError` for what would mean something else.

    A list of no ids cannot be written in a URL, and would mean every row.
    """
    query = {"limit" if name == "page_size" else name: value for name, value in wanted.items()}
    for name, value in query.items():
        if isinstance(value, list | tuple) and not value:
            raise ConfigurationError(f"{name} is an empty list; leave it out to ask for all")
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ConfigurationError(f"{name}: give a datetime with a time zone, e.g. datetime(…, tzinfo=UTC)")
            query[name] = value.isoformat()
    return {name: value for name, value in {**query, "cursor": cursor}.items() if value is not None}


def _get(path: str, read: Callable[[bytes, Mapping[str, str]], T], query: Query | None = None) -> Call[T]:
    return Call(method="GET", path=path, read=read, repeatable=True, query=query or {})


def _post(
    path: str, body: Any, read: Callable[[bytes, Mapping[str, str]], T], *, key: str | None = None, keyed: bool = False
) -> Call[T]:
    headers = {"content-type": "application/json"}
    if keyed:
        headers[routes.IDEMPOTENCY_HEADER] = key or f"tw-{uuid4().hex}"
    content = encode(body)
    return Call(method="POST", path=path, read=read, repeatable=keyed, headers=headers, content=content)


def encode(body: Any) -> bytes:
    """JSON of a body; raises `ConfigurationError` on what JSON cannot carry."""
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"the request cannot be written as JSON: {error}") from error


def chat(
    messages: str | Sequence[types.Message],
    *,
    conversation_id: str | None,
    **body: Any,
) -> Call[ChatResult]:
    """`POST /v1/chat/completions`; parameters that are None are left to the service's defaults."""
    headers = {"content-type": "application/json"}
    if conversation_id is not None:
        headers[types.CONVERSATION_HEADER] = _identifier("conversation_id", conversation_id)
    given = {name: value for name, value in body.items() if value is not None}
    content = encode({"messages": as_messages(messages), **given})
    return Call(method="POST", path=routes.CHAT, read=read_result, repeatable=False, headers=headers, content=content)


def _identifier(name: str, value: str) -> str:
    try:
        return msgspec.convert(value, types.Identifier)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{name}: {error}") from error


def give(feedback: types.Feedback, key: str | None) -> Call[types.FeedbackRecord]:
    """`POST /v1/feedback` under one idempotency key."""
    return _post(routes.FEEDBACK, feedback, _record, key=key, keyed=True)


def give_batch(items: Sequence[types.Feedback], key: str | None) -> Call[types.FeedbackBatchResult]:
    """`POST /v1/feedback/batch` under one idempotency key."""
    return _post(routes.FEEDBACK_BATCH, {"items": list(items)}, _batch, key=key, keyed=True)


def retract(feedback_id: str) -> Call[types.FeedbackRecord]:
    """`DELETE /v1/feedback/{id}`."""
    path = _fill(routes.FEEDBACK_ONE, feedback_id=feedback_id)
    return Call(method="DELETE", path=path, read=_record, repeatable=True)


def feedback(feedback_id: str) -> Call[types.FeedbackRecord]:
    """`GET /v1/feedback/{id}`."""
    return _get(_fill(routes.FEEDBACK_ONE, feedback_id=feedback_id), _record)


def feedback_history(feedback_id: str) -> Call[types.FeedbackHistory]:
    """`GET /v1/feedback/{id}/history`."""
    return _get(_fill(routes.FEEDBACK_HISTORY, feedback_id=feedback_id), _history)


def feedback_page(cursor: str | None, **wanted: Unpack[FeedbackQuery]) -> Call[types.FeedbackPage]:
    """`GET /v1/feedback`."""
    return _get(routes.FEEDBACK, _feedback_page, _narrowed(cursor, wanted))


def create_turn(turn: types.TurnIn, key: str | None) -> Call[types.Turn]:
    """`POST /v1/turns` under one idempotency key."""
    return _post(routes.TURNS, turn, _turn, key=key, keyed=True)


def turn(completion_id: str) -> Call[types.Turn]:
    """`GET /v1/turns/{id}`."""
    return _get(_fill(routes.TURN, completion_id=completion_id), _turn)


def turn_page(cursor: str | None, **wanted: Unpack[TurnQuery]) -> Call[types.TurnPage]:
    """`GET /v1/turns`."""
    return _get(routes.TURNS, _turn_page, _narrowed(cursor, wanted))


def review_page(cursor: str | None, **wanted: Unpack[ReviewQuery]) -> Call[types.ReviewPage]:
    """`GET /v1/reviews`."""
    return _get(routes.REVIEWS, _review_page, _narrowed(cursor, wanted))


def answer_review(review_id: str, answer: types.ReviewAnswer, key: str | None) -> Call[types.FeedbackRecord]:
    """`POST /v1/reviews/{id}/answer` under one idempotency key."""
    return _post(_fill(routes.REVIEW_ANSWER, review_id=review_id), answer, _record, key=key, keyed=True)


def policies() -> Call[types.PolicyList]:
    """`GET /v1/policies`."""
    return _get(routes.POLICIES, _policies)


def policy(version: str) -> Call[types.PolicyVersion]:
    """`GET /v1/policies/{version}`."""
    return _get(_fill(routes.POLICY, version=version), _policy)


def promote(version: str) -> Call[types.PolicyList]:
    """`POST /v1/policies/{version}/promote`."""
    return _post(_fill(routes.POLICY_PROMOTE, version=version), {}, _policies)


def rollback(version: str | None) -> Call[types.PolicyList]:
    """`POST /v1/policies/rollback`."""
    return _post(routes.POLICY_ROLLBACK, types.RollbackIn(version=version), _policies)


def erase_user(user: str) -> Call[types.Erasure]:
    """`DELETE /v1/users/{user}`."""
    return Call(method="DELETE", path=_fill(routes.USER, user=user), read=_erasure, repeatable=True)


def erase_conversation(conversation_id: str) -> Call[types.Erasure]:
    """`DELETE /v1/conversations/{conversation_id}`."""
    path = _fill(routes.CONVERSATION, conversation_id=conversation_id)
    return Call(method="DELETE", path=path, read=_erasure, repeatable=True)


def erasures() -> Call[types.ErasureList]:
    """`GET /v1/erasures`."""
    return _get(routes.ERASURES, _erasures)


def erasure(erasure_id: str) -> Call[types.Erasure]:
    """`GET /v1/erasures/{erasure_id}`."""
    return _get(_fill(routes.ERASURE, erasure_id=erasure_id), _erasure)


def status() -> Call[types.ServiceStatus]:
    """`GET /v1/status`."""
    return _get(routes.STATUS, _status)


def learner(command: Literal["now", "pause", "resume"], stages: Sequence[Stage] = ()) -> Call[types.LearnerCommandIn]:
    """`POST /v1/learner/commands`."""
    return _post(routes.LEARNER_COMMANDS, types.LearnerCommandIn(command=command, stages=list(stages)), _command)

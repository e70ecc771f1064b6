"""`with_raw_response`: the same methods, with status and headers beside the typed result."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

import httpx
from msgspec import Struct

from thumbwheel import async_resources, resources
from thumbwheel.connection import answered
from thumbwheel.errors import UnexpectedAnswer

if TYPE_CHECKING:
    from thumbwheel.async_client import AsyncClient
    from thumbwheel.client import Client

T = TypeVar("T")
P = ParamSpec("P")


class RawResponse(Struct, Generic[T], frozen=True, kw_only=True):
    """An HTTP answer together with what it means."""

    status_code: int
    headers: httpx.Headers
    parsed: T

    @property
    def request_id(self) -> str | None:
        """What to quote to the operator of the service."""
        return self.headers.get("x-request-id")


def _raw(parsed: T, response: httpx.Response | None) -> RawResponse[T]:
    if response is None:
        raise UnexpectedAnswer("no HTTP answer was seen")
    return RawResponse(status_code=response.status_code, headers=response.headers, parsed=parsed)


def raw(method: Callable[P, T]) -> Callable[P, RawResponse[T]]:
    """Make a client's method return `RawResponse`."""

    @wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> RawResponse[T]:
        answered.set(None)
        return _raw(method(*args, **kwargs), answered.get())

    return wrapped


def async_raw(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[RawResponse[T]]]:
    """Make an async client's method return `RawResponse`."""

    @wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> RawResponse[T]:
        answered.set(None)
        return _raw(await method(*args, **kwargs), answered.get())

    return wrapped


class _RawFeedback:
    def __init__(self, of: resources.FeedbackResource) -> None:
        self.give = raw(of.give)
        self.thumb = raw(of.thumb)
        self.rating = raw(of.rating)
        self.flag = raw(of.flag)
        self.comparison = raw(of.comparison)
        self.correction = raw(of.correction)
        self.critique = raw(of.critique)
        self.demonstration = raw(of.demonstration)
        self.outcome = raw(of.outcome)
        self.batch = raw(of.batch)
        self.retract = raw(of.retract)
        self.get = raw(of.get)
        self.history = raw(of.history)


class _RawTurns:
    def __init__(self, of: resources.TurnsResource) -> None:
        self.create = raw(of.create)
        self.get = raw(of.get)


class _RawReviews:
    def __init__(self, of: resources.ReviewsResource) -> None:
        self.answer = raw(of.answer)


class _RawErasures:
    def __init__(self, of: resources.ErasuresResource) -> None:
        self.user = raw(of.user)
        self.conversation = raw(of.conversation)
        self.list = raw(of.list)
        self.get = raw(of.get)


class _RawPolicies:
    def __init__(self, of: resources.PoliciesResource) -> None:
        self.list = raw(of.list)
        self.get = raw(of.get)
        self.promote = raw(of.promote)
        self.rollback = raw(of.rollback)


class _RawLearner:
    def __init__(self, of: resources.LearnerResource) -> None:
        self.now = raw(of.now)
        self.pause = raw(of.pause)
        self.resume = raw(of.resume)


class RawClient:
    """`Client` with `RawResponse` results; what iterates over pages is only on the client itself."""

    def __init__(self, of: "Client") -> None:
        self.chat = raw(of.chat)
        self.status = raw(of.status)
        self.feedback = _RawFeedback(of.feedback)
        self.turns = _RawTurns(of.turns)
        self.reviews = _RawReviews(of.reviews)
        self.policies = _RawPolicies(of.policies)
        self.erasures = _RawErasures(of.erasures)
        self.learner = _RawLearner(of.learner)


class _AsyncRawFeedback:
    def __init__(self, of: async_resources.AsyncFeedbackResource) -> None:
        self.give = async_raw(of.give)
        self.thumb = async_raw(of.thumb)
        self.rating = async_raw(of.rating)
        self.flag = async_raw(of.flag)
        self.comparison = async_raw(of.comparison)
        self.correction = async_raw(of.correction)
        self.critique = async_raw(of.critique)
        self.demonstration = async_raw(of.demonstration)
        self.outcome = async_raw(of.outcome)
        self.batch = async_raw(of.batch)
        self.retract = async_raw(of.retract)
        self.get = async_raw(of.get)
        self.history = async_raw(of.history)


class _AsyncRawTurns:
    def __init__(self, of: async_resources.AsyncTurnsResource) -> None:
        self.create = async_raw(of.create)
        self.get = async_raw(of.get)


class _AsyncRawReviews:
    def __init__(self, of: async_resources.AsyncReviewsResource) -> None:
        self.answer = async_raw(of.answer)


class _AsyncRawErasures:
    def __init__(self, of: async_resources.AsyncErasuresResource) -> None:
        self.user = async_raw(of.user)
        self.conversation = async_raw(of.conversation)
        self.list = async_raw(of.list)
        self.get = async_raw(of.get)


class _AsyncRawPolicies:
    def __init__(self, of: async_resources.AsyncPoliciesResource) -> None:
        self.list = async_raw(of.list)
        self.get = async_raw(of.get)
        self.promote = async_raw(of.promote)
        self.rollback = async_raw(of.rollback)


class _AsyncRawLearner:
    def __init__(self, of: async_resources.AsyncLearnerResource) -> None:
        self.now = async_raw(of.now)
        self.pause = async_raw(of.pause)
        self.resume = async_raw(of.resume)


class AsyncRawClient:
    """`AsyncClient` with `RawResponse` results."""

    def __init__(self, of: "AsyncClient") -> None:
        self.chat = async_raw(of.chat)
        self.status = async_raw(of.status)
        self.feedback = _AsyncRawFeedback(of.feedback)
        self.turns = _AsyncRawTurns(of.turns)
        self.reviews = _AsyncRawReviews(of.reviews)
        self.policies = _AsyncRawPolicies(of.policies)
        self.erasures = _AsyncRawErasures(of.erasures)
        self.learner = _AsyncRawLearner(of.learner)

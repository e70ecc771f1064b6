"""What is sent again, what is not, and under which key."""

import httpx
import pytest
from tests.unit.sdk.fake_service import AT_ONCE, CHAT, RECORD, Scripted, ok, problem

from thumbwheel import (
    AsyncClient,
    Backoff,
    Client,
    Conflict,
    ConnectionFailed,
    NotFound,
    RateLimited,
    ServerError,
    TimedOut,
    UnprocessableEntity,
)
from thumbwheel.routes import IDEMPOTENCY_HEADER, IN_FLIGHT_CODE


def client(transport: Scripted, **options: object) -> Client:
    return Client("http://service", transport=transport, backoff=AT_ONCE, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_refusal_is_tried_again(status: int) -> None:
    transport = Scripted(problem(status), problem(status), ok(RECORD))
    assert client(transport).feedback.thumb("chatcmpl-1", "up").feedback_id == "fb-1"
    assert len(transport.requests) == 3


def test_all_attempts_of_one_feedback_carry_one_idempotency_key() -> None:
    transport = Scripted(httpx.ReadTimeout("slow"), problem(503), ok(RECORD))
    client(transport).feedback.thumb("chatcmpl-1", "up")
    keys = {request.headers[IDEMPOTENCY_HEADER] for request in transport.requests}
    assert len(transport.requests) == 3
    assert len(keys) == 1


def test_two_pieces_of_feedback_have_two_keys() -> None:
    transport = Scripted(ok(RECORD))
    service = client(transport)
    service.feedback.thumb("chatcmpl-1", "up")
    service.feedback.thumb("chatcmpl-1", "up")
    first, second = (request.headers[IDEMPOTENCY_HEADER] for request in transport.requests)
    assert first != second


def test_the_callers_own_key_is_used() -> None:
    transport = Scripted(ok(RECORD))
    client(transport).feedback.thumb("chatcmpl-1", "up", idempotency_key="vote-17")
    assert transport.requests[0].headers[IDEMPOTENCY_HEADER] == "vote-17"


def test_retries_end() -> None:
    transport = Scripted(problem(503, "still down"))
    with pytest.raises(ServerError, match="still down"):
        client(transport, max_retries=3).status()
    assert len(transport.requests) == 4


def test_no_retries_when_told_so() -> None:
    transport = Scripted(problem(503))
    with pytest.raises(ServerError):
        client(transport, max_retries=0).status()
    assert len(transport.requests) == 1


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow")])
def test_a_chat_that_never_left_is_sent_again(error: Exception) -> None:
    transport = Scripted(error, ok(CHAT))
    assert client(transport).chat("hi").text == "hello"


def test_a_chat_that_may_be_under_way_is_not_asked_twice() -> None:
    transport = Scripted(httpx.ReadTimeout("slow"), ok(CHAT))
    with pytest.raises(TimedOut):
        client(transport).chat("hi")
    assert len(transport.requests) == 1


def test_a_read_that_timed_out_is_repeated() -> None:
    transport = Scripted(httpx.ReadTimeout("slow"), ok({"items": []}))
    assert list(client(transport).turns.list()) == []


def test_a_conflict_is_tried_again_only_while_its_first_request_is_in_flight() -> None:
    transport = Scripted(problem(409, code=IN_FLIGHT_CODE), ok(RECORD))
    client(transport).feedback.thumb("chatcmpl-1", "up")
    assert len(transport.requests) == 2
    stored_nothing = Scripted(problem(409, code="not_stored"), ok(RECORD))
    with pytest.raises(Conflict):
        client(stored_nothing).feedback.thumb("chatcmpl-1", "up")
    assert len(stored_nothing.requests) == 1


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (422, UnprocessableEntity)])
def test_what_is_wrong_for_good_is_not_tried_again(status: int, error: type[Exception]) -> None:
    transport = Scripted(problem(status), ok(RECORD))
    with pytest.raises(error):
        client(transport).feedback.thumb("chatcmpl-1", "up")
    assert len(transport.requests) == 1


def test_a_refused_connection_says_where() -> None:
    with pytest.raises(ConnectionFailed, match="http://service"):
        client(Scripted(httpx.ConnectError("refused"))).status()


def test_more_patience_than_allowed_is_left_to_the_caller() -> None:
    transport = Scripted(problem(429, retry_after=3600), ok(CHAT))
    with pytest.raises(RateLimited) as raised:
        client(transport).chat("hi")
    assert raised.value.retry_after == 3600
    assert len(transport.requests) == 1


def test_waits_double_up_to_the_cap_with_jitter_below() -> None:
    backoff = Backoff(first_s=0.5, cap_s=3.0)
    longest = [backoff.delay(attempt, None, chance=1.0) for attempt in range(1, 6)]
    shortest = [backoff.delay(attempt, None, chance=0.0) for attempt in range(1, 6)]
    assert longest == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert shortest == [0.25, 0.5, 1.0, 1.5, 1.5]


def test_what_the_service_asks_for_is_waited_in_full() -> None:
    waited = Backoff().delay(1, 7.0, chance=0.0)
    assert waited is not None
    assert 7.0 <= waited < 7.2


async def test_the_asyncio_client_retries_alike() -> None:
    transport = Scripted(httpx.ConnectError("refused"), problem(429, retry_after=0), ok(RECORD))
    async with AsyncClient("http://service", transport=transport, backoff=AT_ONCE) as service:
        record = await service.feedback.thumb("chatcmpl-1", "up")
    assert record.revision == 1
    assert len({request.headers[IDEMPOTENCY_HEADER] for request in transport.requests}) == 1
    assert len(transport.requests) == 3


async def test_the_asyncio_client_gives_up_alike() -> None:
    transport = Scripted(httpx.ReadTimeout("slow"))
    async with AsyncClient("http://service", transport=transport, backoff=AT_ONCE) as service:
        with pytest.raises(TimedOut):
            await service.chat("hi")
        assert len(transport.requests) == 1

"""Streamed chats: chunks, ids from the start, and every way a stream can end."""

import httpx
import pytest
from tests.unit.sdk.fake_service import AT_ONCE, STAMP, Pieces, Scripted, chunk, event, problem, streamed

from thumbwheel import (
    AsyncClient,
    BadRequest,
    Client,
    ServerError,
    StreamBroken,
    ThumbwheelError,
    TimedOut,
    UnexpectedAnswer,
)

DONE = b"data: [DONE]\n\n"
FIRST = event({**chunk(), "thumbwheel": STAMP})


def client(*answers: httpx.Response | Exception) -> Client:
    return Client("http://service", transport=Scripted(*answers), backoff=AT_ONCE)


def test_chunks_arrive_and_join_to_the_answer() -> None:
    pieces = [FIRST, event(chunk("Hel")), event(chunk("lo", finish_reason="stop")), DONE]
    with client(streamed(pieces)).chat("hi", stream=True) as stream:
        assert [c.text for c in stream] == ["", "Hel", "lo"]
        result = stream.result()
    assert result.text == "Hello"
    assert result.completion_id == "chatcmpl-1"
    assert result.policy_version == "p-3"
    assert result.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_pieces_may_be_cut_anywhere(size: int) -> None:
    whole = b": hello\n\n" + FIRST + event(chunk("Grüße, ")) + event(chunk("Ann")).replace(b"\n", b"\r\n") + DONE
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
    assert client(streamed(pieces)).chat("hi", stream=True).result().text == "Grüße, Ann"


def test_the_id_is_known_from_the_headers_before_the_first_chunk() -> None:
    response = streamed([DONE], x_thumbwheel_completion_id="chatcmpl-5", x_thumbwheel_policy_version="p-1")
    stream = client(response).chat("hi", stream=True)
    assert stream.completion_id == "chatcmpl-5"
    assert stream.policy_version == "p-1"


def test_the_id_is_known_from_the_first_chunk() -> None:
    stream = client(streamed([FIRST, event(chunk("a")), DONE])).chat("hi", stream=True)
    assert stream.completion_id is None
    next(stream)
    assert stream.completion_id == "chatcmpl-1"
    assert stream.conversation_id == "conv-9"


def test_tool_calls_are_joined_from_their_parts() -> None:
    def call(**function: str) -> dict[str, object]:
        return {"index": 0, "function": function}

    pieces = [
        event({**chunk(), "choices": [{"index": 0, "delta": {"tool_calls": [{**call(name="find"), "id": "c1"}]}}]}),
        event({**chunk(), "choices": [{"index": 0, "delta": {"tool_calls": [call(arguments='{"order":')]}}]}),
        event({**chunk(), "choices": [{"index": 0, "delta": {"tool_calls": [call(arguments="17}")]}}]}),
        DONE,
    ]
    choice = client(streamed(pieces)).chat("hi", stream=True).result().choices[0]
    assert choice.tool_calls == [{"function": {"name": "find", "arguments": '{"order":17}'}, "id": "c1"}]
    assert choice.text == ""


def test_several_choices_and_usage() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    pieces = [event(chunk("a", 1)), event(chunk("b", 0)), event({"id": "x", "choices": [], "usage": usage}), DONE]
    result = client(streamed(pieces)).chat("hi", stream=True, n=2).result()
    assert [choice.text for choice in result.choices] == ["b", "a"]
    assert result.usage is not None
    assert result.usage.total_tokens == 5


def test_a_stream_without_its_end_is_broken() -> None:
    stream = client(streamed([FIRST, event(chunk("half"))])).chat("hi", stream=True)
    with pytest.raises(StreamBroken):
        list(stream)
    assert stream.text == "half"
    with pytest.raises(StreamBroken):
        stream.result()


@pytest.mark.parametrize(
    ("error", "expected"),
    [(httpx.ReadError("reset"), StreamBroken), (httpx.ReadTimeout("silence"), TimedOut)],
)
def test_a_broken_connection_is_never_asked_again(error: Exception, expected: type[ThumbwheelError]) -> None:
    transport = Scripted(streamed([FIRST, event(chunk("half"))], error))
    stream = Client("http://service", transport=transport, backoff=AT_ONCE).chat("hi", stream=True)
    with pytest.raises(expected):
        list(stream)
    assert len(transport.requests) == 1


def test_a_connection_that_breaks_after_the_end_does_not_matter() -> None:
    response = streamed([FIRST, event(chunk("all")), DONE], httpx.ReadError("reset"))
    assert client(response).chat("hi", stream=True).result().text == "all"


def test_an_error_event_is_raised_as_what_it_says() -> None:
    error = {"error": {"message": "engine died", "type": "InternalServerError", "code": 500}}
    stream = client(streamed([FIRST, event(error), DONE])).chat("hi", stream=True)
    with pytest.raises(ServerError, match="engine died"):
        list(stream)


def test_an_error_event_with_a_status_of_the_callers_making() -> None:
    error = {"error": {"message": "too long", "type": "BadRequestError", "code": 400}}
    with pytest.raises(BadRequest, match="too long"):
        client(streamed([event(error), DONE])).chat("hi", stream=True).result()


def test_what_is_not_json_is_unexpected() -> None:
    with pytest.raises(UnexpectedAnswer):
        list(client(streamed([b"data: <html>\n\n", DONE])).chat("hi", stream=True))


def test_a_refusal_is_raised_before_any_chunk_and_a_passing_one_is_tried_again() -> None:
    with pytest.raises(BadRequest, match="no such"):
        client(problem(400, "no such parameter")).chat("hi", stream=True)
    assert client(problem(503), streamed([FIRST, event(chunk("a")), DONE])).chat("hi", stream=True).result().text == "a"


def test_leaving_early_closes_the_connection() -> None:
    body = Pieces([FIRST, event(chunk("a")), event(chunk("b")), DONE])
    with client(httpx.Response(200, stream=body)).chat("hi", stream=True) as stream:
        next(stream)
    assert body.closed


def test_chunks_before_an_error_event_are_not_lost() -> None:
    error = {"error": {"message": "engine died"}}
    stream = client(streamed([event(chunk("a")) + event(error)])).chat("hi", stream=True)
    assert next(stream).text == "a"
    with pytest.raises(ServerError):
        next(stream)


async def test_the_asyncio_client_streams_alike() -> None:
    transport = Scripted(streamed([FIRST, event(chunk("Hel")), event(chunk("lo")), DONE]))
    service = AsyncClient("http://service", transport=transport)
    async with service, await service.chat("hi", stream=True) as stream:
        assert [c.text async for c in stream] == ["", "Hel", "lo"]
        assert (await stream.result()).text == "Hello"


async def test_the_asyncio_client_notices_a_broken_stream_alike() -> None:
    transport = Scripted(streamed([FIRST, event(chunk("Hel"))]))
    async with AsyncClient("http://service", transport=transport) as service:
        stream = await service.chat("hi", stream=True)
        with pytest.raises(StreamBroken):
            await stream.result()

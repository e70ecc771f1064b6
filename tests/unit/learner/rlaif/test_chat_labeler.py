"""A labeler over HTTP: what it is asked, what is read of its answer, and when it is asked again."""

import contextlib
import json
from collections.abc import Iterator

import httpx
import pytest
from tests.learner_labeler import Endpoint, serve_endpoint
from tests.learner_models import said

from thumbwheel_learner.rlaif.chat_labeler import ChatLabeler, labeler_http
from thumbwheel_learner.rlaif.labeler import BadVerdict, LabelerAway, LabelerRefused, PreferenceLabeler

ASKED = said("where is my order {now}")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serve_endpoint() as endpoint:
        yield endpoint


@contextlib.contextmanager
def labeler(endpoint: Endpoint, slept: list[float] | None = None) -> Iterator[PreferenceLabeler]:
    with labeler_http(endpoint.url, "secret") as http:
        yield ChatLabeler(http, "judge-7b", sleep=[].append if slept is None else slept.append)


def test_it_is_asked_in_both_orders_by_the_principle(endpoint: Endpoint) -> None:
    with labeler(endpoint) as asked:
        verdict = asked.compare("be {brief}", ASKED, "long answer", "short")
    assert (verdict.probability, verdict.consistent, verdict.reason) == (pytest.approx(0.9), True, "longer")
    assert verdict.labeler == asked.name == "judge-7b@127.0.0.1/1"
    assert endpoint.paths == ["/v1/chat/completions"] * 2
    assert endpoint.keys == ["Bearer secret"] * 2
    system, user = endpoint.requests[0]["messages"]
    assert "be {brief}" in system["content"]
    told = [json.loads(request["messages"][1]["content"]) for request in endpoint.requests]
    assert told[0] == {"conversation": ASKED, "first_answer": "long answer", "second_answer": "short"}
    assert told[1] == {"conversation": ASKED, "first_answer": "short", "second_answer": "long answer"}
    assert (system["role"], user["role"], endpoint.requests[0]["model"]) == ("system", "user", "judge-7b")


def test_a_taste_for_the_first_place_is_a_tie(endpoint: Endpoint) -> None:
    endpoint.says = lambda told: '{"reason": "it comes first", "first": 0.8}'
    with labeler(endpoint) as asked:
        verdict = asked.compare("p", ASKED, "a", "b")
    assert (verdict.probability, verdict.consistent) == (pytest.approx(0.5), False)


@pytest.mark.parametrize(
    "answer",
    [
        "the first",
        '```json\n{"reason": "", "first": 1}\n```',
        '{"reason": "", "first": "0.7"}',
        '{"reason": "", "first": 1.5}',
        '{"reason": "", "first": true}',
        '{"first": 0.5}',
        '{"reason": "", "first": 0.5, "second": 0.5}',
        '{"reason": "", "first": NaN}',
    ],
)
def test_anything_but_the_verdict_asked_for_is_an_error_that_quotes_nothing(endpoint: Endpoint, answer: str) -> None:
    endpoint.says = lambda told: answer
    with labeler(endpoint) as asked, pytest.raises(BadVerdict, match="no verdict that can be read") as caught:
        asked.compare("p", ASKED, "zanzibar", "b")
    assert "zanzibar" not in str(caught.value)
    assert len(endpoint.requests) == 1


def test_a_body_that_is_no_completion_is_an_error() -> None:
    with (
        httpx.Client(
            base_url="http://x", transport=httpx.MockTransport(lambda _: httpx.Response(200, text='{"choices": []}'))
        ) as http,
        pytest.raises(BadVerdict),
    ):
        ChatLabeler(http, "m").compare("p", ASKED, "a", "b")


def test_passing_trouble_is_waited_out(endpoint: Endpoint) -> None:
    endpoint.statuses, slept = [503, 429, 500], list[float]()
    with labeler(endpoint, slept) as asked:
        assert asked.compare("p", ASKED, "longer", "b").probability == pytest.approx(0.9)
    assert slept == [1.0, 2.0, 4.0]
    assert len(endpoint.requests) == 5


def test_the_endpoint_says_how_long_to_wait_within_reason(endpoint: Endpoint) -> None:
    endpoint.statuses, endpoint.headers, slept = [429], {"retry-after": "7"}, list[float]()
    with labeler(endpoint, slept) as asked:
        asked.compare("p", ASKED, "a", "b")
    endpoint.statuses, endpoint.headers = [429, 429], {"retry-after": "9000"}
    with labeler(endpoint, slept) as asked:
        asked.compare("p", ASKED, "a", "b")
    assert slept == [7.0, 30.0, 30.0]


def test_trouble_that_stays_means_it_is_away(endpoint: Endpoint) -> None:
    endpoint.statuses = [503] * 4
    with labeler(endpoint) as asked, pytest.raises(LabelerAway, match="after 4 tries: status 503"):
        asked.compare("p", ASKED, "a", "b")


def test_nobody_at_the_address_means_it_is_away() -> None:
    with serve_endpoint() as gone:
        pass
    slept: list[float] = []
    with labeler(gone, slept) as asked, pytest.raises(LabelerAway, match="ConnectError"):
        asked.compare("p", ASKED, "a", "b")
    assert slept == [1.0, 2.0, 4.0]


def test_what_is_too_slow_means_it_is_away() -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with httpx.Client(base_url="http://x", transport=httpx.MockTransport(slow)) as http, pytest.raises(LabelerAway):
        ChatLabeler(http, "m", sleep=lambda _: None).compare("p", ASKED, "a", "b")


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_a_refusal_is_not_repeated(endpoint: Endpoint, status: int) -> None:
    endpoint.statuses = [status]
    with labeler(endpoint) as asked, pytest.raises(LabelerRefused, match=f"status {status}"):
        asked.compare("p", ASKED, "a", "b")
    assert len(endpoint.requests) == 1

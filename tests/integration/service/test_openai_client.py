"""The unmodified `openai` client against the real service."""

import json
import math

import openai
import pytest
from tests.integration.conftest import RealService

from thumbwheel.types import COMPLETION_HEADER, CONVERSATION_HEADER, VERSION_HEADER

pytestmark = pytest.mark.vllm
HELLO = [{"role": "user", "content": "Hello, where is my order?"}]
TRACK = {
    "type": "function",
    "function": {
        "name": "track",
        "description": "Where an order is",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"order": {"type": "integer", "maximum": 99}},
            "required": ["order"],
            "additionalProperties": False,
        },
    },
}


def test_an_answer_carries_its_identity_in_headers_and_body(base_is_live: RealService) -> None:
    client = base_is_live.client()
    raw = client.chat.completions.with_raw_response.create(
        model="thumbwheel", messages=HELLO, max_tokens=8, metadata={"conversation_id": "c-42", "shop": "eu"}, user="ann"
    )
    answer = raw.parse()

    assert answer.model == "thumbwheel"
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 8
    assert answer.model_extra is not None
    stamp = answer.model_extra["thumbwheel"]
    assert stamp == {"completion_id": answer.id, "policy_version": "base", "conversation_id": "c-42"}
    assert raw.headers[COMPLETION_HEADER] == answer.id
    assert raw.headers[VERSION_HEADER] == "base"
    assert raw.headers[CONVERSATION_HEADER] == "c-42"

    turn = base_is_live.turn(answer.id)
    assert (turn.conversation_id, turn.user, turn.metadata["shop"]) == ("c-42", "ann", "eu")
    assert turn.messages == HELLO
    assert turn.choices[0].text == answer.choices[0].message.content
    assert turn.choices[0].token_ids is not None
    assert turn.choices[0].logprobs is not None
    assert len(turn.choices[0].token_ids) == len(turn.choices[0].logprobs) == answer.usage.completion_tokens
    assert turn.sampling is not None
    assert turn.sampling.is_plain()
    assert turn.sampling.temperature == 1.0


def test_a_stream_carries_its_identity_in_the_first_chunk(base_is_live: RealService) -> None:
    client = base_is_live.client()
    stream = client.chat.completions.create(
        model="base", messages=HELLO, max_tokens=12, stream=True, stream_options={"include_usage": True}, seed=3
    )
    chunks = list(stream)

    assert {chunk.model for chunk in chunks} == {"base"}
    assert chunks[0].model_extra is not None
    assert chunks[0].model_extra["thumbwheel"]["completion_id"] == chunks[0].id
    assert all("thumbwheel" not in (chunk.model_extra or {}) for chunk in chunks[1:])
    assert chunks[-1].usage is not None
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    turn = base_is_live.turn(chunks[0].id)
    assert turn.choices[0].text == text
    assert turn.choices[0].token_ids is not None
    assert len(turn.choices[0].token_ids) == chunks[-1].usage.completion_tokens
    assert turn.sampling is not None
    assert turn.sampling.seed == 3


def test_seed_repeats_and_n_gives_different_choices(base_is_live: RealService) -> None:
    client = base_is_live.client()
    ask = {"model": "thumbwheel", "messages": HELLO, "max_tokens": 12, "n": 2}
    first = client.chat.completions.create(**ask, seed=11)
    again = client.chat.completions.create(**ask, seed=11)

    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert texts[0] != texts[1]
    turn = base_is_live.turn(first.id)
    assert [choice.text for choice in turn.choices] == texts
    assert all(choice.logprobs for choice in turn.choices)


def test_a_stream_of_several_choices_is_recorded_choice_by_choice(base_is_live: RealService) -> None:
    stream = base_is_live.client().chat.completions.create(
        model="thumbwheel", messages=HELLO, max_tokens=10, n=3, stream=True
    )
    texts = ["", "", ""]
    completion_id = ""
    for chunk in stream:
        completion_id = chunk.id
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    turn = base_is_live.turn(completion_id)
    assert [choice.text for choice in turn.choices] == texts


def test_stop_ends_the_answer_before_the_string(base_is_live: RealService) -> None:
    client = base_is_live.client()
    ask = {"model": "thumbwheel", "messages": HELLO, "max_tokens": 48, "seed": 5}
    whole = client.chat.completions.create(**ask).choices[0].message.content
    assert whole is not None
    stop = whole[6:8]
    cut = client.chat.completions.create(**ask, stop=stop)
    assert cut.choices[0].finish_reason == "stop"
    assert cut.choices[0].message.content == whole[: whole.index(stop)]


def test_logprobs_are_those_that_are_recorded(base_is_live: RealService) -> None:
    answer = base_is_live.client().chat.completions.create(
        model="thumbwheel", messages=HELLO, max_tokens=8, logprobs=True, top_logprobs=3, temperature=0.7
    )
    assert answer.choices[0].logprobs is not None
    content = answer.choices[0].logprobs.content
    assert content is not None
    assert all(len(entry.top_logprobs) == 3 for entry in content)
    turn = base_is_live.turn(answer.id)
    assert turn.choices[0].logprobs == pytest.approx([entry.logprob for entry in content])
    assert turn.sampling is not None
    assert turn.sampling.temperature == 0.7


def test_unasked_logprobs_are_not_shown(base_is_live: RealService) -> None:
    answer = base_is_live.client().chat.completions.create(model="thumbwheel", messages=HELLO, max_tokens=4)
    assert answer.choices[0].logprobs is None


def test_json_schema_output_holds_the_schema(base_is_live: RealService) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "stars": {"type": "integer", "minimum": 1, "maximum": 5}},
        "required": ["ok", "stars"],
        "additionalProperties": False,
    }
    answer = base_is_live.client().chat.completions.create(
        model="thumbwheel",
        messages=HELLO,
        max_tokens=200,
        response_format={"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema, "strict": True}},
    )
    found = json.loads(answer.choices[0].message.content or "")
    assert set(found) == {"ok", "stars"}
    assert isinstance(found["ok"], bool)
    turn = base_is_live.turn(answer.id)
    assert turn.sampling is not None
    assert turn.sampling.constrained
    assert not turn.sampling.is_plain()


@pytest.mark.parametrize("stream", [False, True])
def test_a_named_tool_is_called_with_valid_arguments(base_is_live: RealService, stream: bool) -> None:
    client = base_is_live.client()
    ask = {
        "model": "thumbwheel",
        "messages": HELLO,
        "max_tokens": 200,
        "tools": [TRACK],
        "tool_choice": {"type": "function", "function": {"name": "track"}},
    }
    if stream:
        name, arguments, completion_id = "", "", ""
        for chunk in client.chat.completions.create(**ask, stream=True):
            completion_id = chunk.id
            for choice in chunk.choices:
                for call in choice.delta.tool_calls or []:
                    assert call.function is not None
                    name += call.function.name or ""
                    arguments += call.function.arguments or ""
    else:
        answer = client.chat.completions.create(**ask)
        completion_id = answer.id
        assert answer.choices[0].message.tool_calls
        function = answer.choices[0].message.tool_calls[0].function
        name, arguments = function.name, function.arguments
    assert name == "track"
    assert isinstance(json.loads(arguments)["order"], int)
    recorded = base_is_live.turn(completion_id).choices[0].tool_calls
    assert [call["function"] for call in recorded] == [{"name": name, "arguments": arguments}]


def test_auto_tool_choice_leaves_the_answer_to_the_model(base_is_live: RealService) -> None:
    answer = base_is_live.client().chat.completions.create(
        model="thumbwheel", messages=HELLO, max_tokens=16, tools=[TRACK], tool_choice="auto"
    )
    assert answer.choices[0].message.content is not None
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_required_tools_are_called(base_is_live: RealService) -> None:
    answer = base_is_live.client().chat.completions.create(
        model="thumbwheel", messages=HELLO, max_tokens=200, tools=[TRACK], tool_choice="required"
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.tool_calls
    assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments)["order"] <= 99


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        pytest.param({"model": "nobody"}, openai.NotFoundError, "model", id="unknown model"),
        pytest.param({"temperature": "hot"}, openai.BadRequestError, "temperature", id="wrong type"),
        pytest.param({"temperature": 3.0}, openai.BadRequestError, "temperature", id="out of range"),
        pytest.param({"n": 1000}, openai.BadRequestError, "n", id="too many choices"),
        pytest.param({"messages": []}, openai.BadRequestError, "messages", id="no messages"),
        pytest.param({"metadata": {str(i): "x" for i in range(17)}}, openai.BadRequestError, "metadata", id="metadata"),
        pytest.param(
            {"logprobs": True, "top_logprobs": 500}, openai.BadRequestError, "logprobs", id="refused by the engine"
        ),
        pytest.param(
            {"logprobs": True, "top_logprobs": 500, "stream": True},
            openai.BadRequestError,
            "logprobs",
            id="refused by the engine before the first chunk of a stream",
        ),
    ],
)
def test_a_bad_request_is_an_openai_error_and_leaves_no_turn(
    base_is_live: RealService, change: dict, error: type[openai.APIStatusError], field: str
) -> None:
    before = base_is_live.public.get("/v1/status").json()["turns"]
    with pytest.raises(error) as caught:
        base_is_live.client().chat.completions.create(
            **{"model": "thumbwheel", "messages": HELLO, "max_tokens": 4, **change}
        )
    assert caught.value.body["param"] == field  # type: ignore[index]
    assert base_is_live.public.get("/v1/status").json()["turns"] == before


def test_a_prompt_that_is_too_long_is_refused(base_is_live: RealService) -> None:
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        base_is_live.client().chat.completions.create(
            model="thumbwheel", messages=[{"role": "user", "content": "word " * 600}], stream=True
        )


def test_store_false_keeps_nothing_but_the_refusal(base_is_live: RealService) -> None:
    before = base_is_live.public.get("/v1/status").json()["turns"]
    answer = base_is_live.client().chat.completions.create(
        model="thumbwheel", messages=HELLO, max_tokens=4, store=False
    )
    response = base_is_live.public.post(
        "/v1/feedback", json={"kind": "thumb", "completion_id": answer.id, "value": "up"}
    )
    assert response.status_code == 409
    assert base_is_live.public.get(f"/v1/turns/{answer.id}").status_code == 409
    assert base_is_live.public.get("/v1/status").json()["turns"] == before


def test_models_lists_the_alias_and_what_can_be_pinned(base_is_live: RealService) -> None:
    client = base_is_live.client()
    assert {"thumbwheel", "base"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("thumbwheel").id == "thumbwheel"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_feedback_given_in_mid_stream_is_accepted(base_is_live: RealService) -> None:
    stream = base_is_live.client().chat.completions.create(
        model="thumbwheel", messages=HELLO, max_tokens=200, stream=True, extra_body={"ignore_eos": True}
    )
    first = next(iter(stream))
    response = base_is_live.public.post(
        "/v1/feedback", json={"kind": "thumb", "completion_id": first.id, "value": "down"}
    )
    assert response.status_code in (200, 201)
    for _ in stream:
        pass
    turn = base_is_live.turn(first.id)
    assert [record.kind for record in turn.feedback] == ["thumb"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cuts_its_chat(base_is_live: RealService, stream: bool) -> None:
    conversation = f"leaves-{stream}"
    body = {
        "messages": HELLO,
        "max_tokens": 450,
        "ignore_eos": True,
        "stream": stream,
        "n": 4,
        "thumbwheel": {"conversation_id": conversation},
    }
    if stream:
        with base_is_live.public.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            for _ in range(40):
                next(lines)
    else:
        with pytest.raises(openai.APITimeoutError):
            base_is_live.client().with_options(timeout=0.4).chat.completions.create(
                model="thumbwheel", messages=HELLO, max_tokens=450, n=4, extra_body=body
            )
    listed = base_is_live.public.get("/v1/turns", params={"conversation_id": conversation}).json()["items"]
    turn = base_is_live.turn(listed[0]["completion_id"], "cut")
    assert turn.choices
    for choice in turn.choices:
        assert choice.finish_reason == "abort"
        assert choice.token_ids is not None
        assert choice.logprobs is not None
        assert 0 < len(choice.token_ids) < 450
        assert all(math.isfinite(value) for value in choice.logprobs)

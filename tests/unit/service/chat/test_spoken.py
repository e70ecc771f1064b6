"""What the client was told is read back from the answer."""

import json

import msgspec

from thumbwheel.types import ChatStamp
from thumbwheel_service.chat.spoken import DONE, Spoken, stamp_event
from thumbwheel_service.engine.protocol import ChoiceTrace, Trace


def event(index: int, delta: dict, reason: str | None = None) -> str:
    body = {"id": "x", "choices": [{"index": index, "delta": delta, "finish_reason": reason}]}
    return f"data: {json.dumps(body)}\n\n"


def test_a_stream_is_put_together_choice_by_choice() -> None:
    spoken = Spoken()
    for said in (
        event(0, {"role": "assistant", "content": ""}),
        event(1, {"content": "b"}),
        event(0, {"content": "a"}),
        event(0, {"content": "!"}, "stop"),
        'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n',
        DONE,
    ):
        spoken.hear_event(said)
    trace = Trace(choices={0: ChoiceTrace("a!", [5, 6], [-1.0, -2.0], "stop"), 1: ChoiceTrace("b", [7], [-3.0])})

    first, second = spoken.choices(trace)

    assert (first.text, first.finish_reason, first.token_ids, first.logprobs) == ("a!", "stop", [5, 6], [-1.0, -2.0])
    assert (second.text, second.finish_reason) == ("b", None)
    assert not spoken.finished(2)


def test_tool_calls_come_in_pieces() -> None:
    spoken = Spoken()
    pieces = (
        {"index": 0, "id": "call-1", "type": "function", "function": {"name": "track", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"order"'}},
        {"index": 0, "function": {"arguments": ": 7}"}},
    )
    for call in pieces:
        spoken.hear_event(event(0, {"tool_calls": [call]}))
    spoken.hear_event(event(0, {}, "tool_calls"))

    (choice,) = spoken.choices(Trace())

    assert choice.tool_calls == [
        {"id": "call-1", "type": "function", "function": {"name": "track", "arguments": '{"order": 7}'}}
    ]
    assert choice.finish_reason == "tool_calls"
    assert spoken.finished(1)


def test_a_whole_answer_is_heard_at_once() -> None:
    spoken = Spoken()
    spoken.hear_answer({"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "length"}]})
    (choice,) = spoken.choices(Trace(choices={0: ChoiceTrace("hi", [1], [-0.5], "length")}))
    assert (choice.text, choice.finish_reason, choice.token_ids) == ("hi", "length", [1])


def test_a_cut_choice_keeps_what_was_sampled() -> None:
    (choice,) = Spoken().choices(Trace(choices={0: ChoiceTrace("half", [1, 2], [-0.5, -0.5], "abort")}))
    assert (choice.text, choice.finish_reason, choice.token_ids) == ("half", "abort", [1, 2])


def test_an_aborted_answer_is_not_finished() -> None:
    spoken = Spoken()
    spoken.hear_answer({"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "abort"}]})
    assert not spoken.finished(1)


def test_no_token_record_without_one_finite_logprob_per_token() -> None:
    for logprobs in ([-1.0], [-1.0, float("nan")], [-1.0, float("-inf")]):
        (choice,) = Spoken().choices(Trace(choices={0: ChoiceTrace("x", [1, 2], logprobs, "stop")}))
        assert choice.token_ids is None
        assert choice.logprobs is None
    (choice,) = Spoken().choices(Trace(exact=False, choices={0: ChoiceTrace("x", [1], [-1.0], "stop")}))
    assert choice.token_ids is None


def test_the_stamp_goes_into_the_event_and_changes_nothing_else() -> None:
    stamp = ChatStamp(completion_id="chatcmpl-1", policy_version="v", conversation_id="c")
    stamped = stamp_event(event(0, {"content": "}\n\n"}), stamp)
    assert stamped.endswith("\n\n")
    body = msgspec.json.decode(stamped.removeprefix("data: "))
    assert body.pop("thumbwheel") == {"completion_id": "chatcmpl-1", "policy_version": "v", "conversation_id": "c"}
    assert body == json.loads(event(0, {"content": "}\n\n"}).removeprefix("data: "))

"""What becomes a row, what is left out and why, and that the import reads what the export writes."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thumbwheel.export.rows import LeftOut, Told, correction, plain, preference, thumb, whole_turn
from thumbwheel.preferences import parse_line
from thumbwheel.types import (
    Comparison,
    Correction,
    Demonstration,
    Feedback,
    FeedbackRecord,
    Message,
    Sampling,
    Thumb,
    Turn,
    TurnChoice,
)

ASKED: list[Message] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Where is it?"}]
SAID = [{"role": "assistant", "content": "Here."}]


def turn(completion_id: str = "c1", answers: tuple[str, ...] = ("Here.", "Gone."), **more: Any) -> Turn:
    fields: dict[str, Any] = {
        "completion_id": completion_id,
        "conversation_id": "v1",
        "policy_version": "p-1",
        "status": "complete",
        "origin": "chat",
        "created_ms": 5,
        "messages": ASKED,
        "choices": [TurnChoice(index=i, text=text) for i, text in enumerate(answers)],
    }
    return Turn(**fields | more)


def record(feedback: Feedback, **more: Any) -> FeedbackRecord:
    fields: dict[str, Any] = {
        "feedback_id": "fb-1",
        "revision": 1,
        "retracted": False,
        "kind": type(feedback).__name__.lower(),
        "created_ms": 7,
        "updated_ms": 8,
        "feedback": feedback,
        "completion_id": "c1",
        "policy_version": "p-1",
    }
    return FeedbackRecord(**fields | more)


def compared(value: Any, other: Turn | None = None, this: Turn | None = None, **more: Any) -> Told:
    given = Comparison(completion_id="c1", value=value, **more)
    return Told(record(given), turn() if this is None else this, other)


def test_the_preferred_side_is_chosen() -> None:
    for value, sides in (("this", ("Here.", "Gone.")), ("other", ("Gone.", "Here."))):
        row = preference(compared(value, turn(), other_completion_id="c1", other_choice=1))
        assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == sides
        assert row["prompt"] == ASKED
    assert preference(compared("other", other_text="Soon."))["chosen"] == [{"role": "assistant", "content": "Soon."}]


def test_a_correction_is_preferred_to_what_it_corrects() -> None:
    told = Told(record(Correction(completion_id="c1", choice=1, text="Soon.", user="ann")), turn())
    row = preference(told)
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("Soon.", "Gone.")
    assert list(row) == [
        "prompt", "chosen", "rejected",
        "kind", "source", "user", "feedback_id", "completion_id", "policy_version", "created_ms",
    ]  # fmt: skip
    assert [row[name] for name in ("kind", "source", "user", "feedback_id", "created_ms")] == [
        "correction", "human", "ann", "fb-1", 7,
    ]  # fmt: skip


PICTURE: list[Message] = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
TOOLED: list[Message] = [*ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]
CALL = [TurnChoice(index=0, text="", tool_calls=[{"id": "1"}]), TurnChoice(index=1, text="b")]

REASONS: list[tuple[Told, str]] = [
    (compared("tie", other_text="x"), "tie"),
    (compared("this", other_text=" Here. "), "both answers are the same"),
    (compared("this", other_completion_id="c2", other=None), "the service has no such turn"),
    (compared("this", other=turn("c2", messages=ASKED[1:]), other_completion_id="c2"), "answers to different prompts"),
    (compared("this", other=turn("c2", status="lost", messages=[]), other_completion_id="c2"), "lost turn"),
    (compared("this", this=turn(status="open", messages=[], choices=[]), other_text="x"), "still being answered"),
    (compared("this", this=turn(answers=("", "b")), other_text="x"), "empty answer"),
    (compared("this", other_text="x", choice=2), "empty answer"),
    (compared("this", this=turn(messages=PICTURE), other_text="x"), "more than text (tools, images)"),
    (compared("this", this=turn(messages=TOOLED), other_text="x"), "more than text (tools, images)"),
    (compared("this", this=turn(choices=CALL), other_text="x"), "more than text (tools, images)"),
]


@pytest.mark.parametrize(("told", "reason"), REASONS, ids=[reason for _, reason in REASONS])
def test_what_makes_no_preference_says_why(told: Told, reason: str) -> None:
    with pytest.raises(LeftOut) as raised:
        preference(told)
    assert str(raised.value) == reason


def test_a_thumb_labels_the_answer_that_it_was_given_on() -> None:
    given = Thumb(completion_id="c1", choice=1, value="down", reasons=["style", "slow"], source="llm")
    row = thumb(Told(record(given), turn()))
    assert (row["prompt"], row["completion"][0]["content"], row["label"]) == (ASKED, "Gone.", False)
    assert (row["reasons"], row["comment"], row["user"], row["source"]) == ("style, slow", "", "", "llm")
    assert thumb(Told(record(Thumb(completion_id="c1", value="up")), turn()))["label"] is True


def test_an_answer_that_its_reader_cut_short_counts() -> None:
    assert thumb(Told(record(Thumb(completion_id="c1", value="up")), turn(status="cut")))["completion"] == SAID


def test_corrections_and_demonstrations_are_pairs_for_sft() -> None:
    corrected = correction(Told(record(Correction(completion_id="c1", text="Soon.")), turn()))
    assert (corrected["prompt"], corrected["completion"][0]["content"]) == (ASKED, "Soon.")
    shown = Demonstration(messages=ASKED[1:], text="Here.")
    row = correction(Told(record(shown, completion_id=None, policy_version=None)))
    assert (row["prompt"], row["completion"], row["kind"]) == (ASKED[1:], SAID, "demonstration")
    assert (row["completion_id"], row["policy_version"]) == ("", "")


def test_text_parts_are_joined_and_names_dropped() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert plain([{"role": "user", "content": parts, "name": "ann"}]) == [{"role": "user", "content": "a\nb"}]
    for message in ({"role": "tool", "content": "x"}, {"role": "user"}, {"role": "user", "content": [3]}):
        with pytest.raises(LeftOut):
            plain([message])


def test_a_turn_is_exported_whole_with_the_feedback_that_stands() -> None:
    up = Thumb(completion_id="c1", value="up")
    sampled = TurnChoice(index=0, text="Here.", finish_reason="stop", token_ids=[1, 2], logprobs=[-0.5, -0.25])
    sampling = Sampling(
        temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, presence_penalty=0.0, frequency_penalty=0.0,
        repetition_penalty=1.0, max_tokens=None,
    )  # fmt: skip
    row = whole_turn(turn(choices=[sampled], sampling=sampling, feedback=[record(up), record(up, retracted=True)]))
    assert (row["completion_id"], row["policy_version"], row["user"]) == ("c1", "p-1", None)
    assert row["choices"] == [msgspec.structs.asdict(sampled)]
    assert row["sampling"]["temperature"] == 1.0
    assert [found["retracted"] for found in row["feedback"]] == [False]
    with pytest.raises(LeftOut, match="lost"):
        whole_turn(turn(status="lost"))


texts = st.text(min_size=1).filter(str.strip)
message = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": texts})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    asked=st.lists(message, min_size=1, max_size=4), chosen=texts, rejected=texts, user=st.sampled_from([None, "ann"])
)
def test_the_import_reads_what_the_export_writes(
    asked: list[Message], chosen: str, rejected: str, user: str | None
) -> None:
    told = Told(
        record(Comparison(completion_id="c1", value="other", other_text=chosen, user=user)),
        turn(answers=(rejected,), messages=asked),
    )
    if chosen.strip() == rejected.strip():
        with pytest.raises(LeftOut):
            preference(told)
        return
    pair = parse_line(msgspec.json.encode(preference(told)))
    assert (pair.messages, pair.chosen, pair.rejected, pair.user) == (asked, chosen, rejected, user)

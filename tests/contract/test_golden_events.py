"""One JSON per event version that was ever written: an old one must always parse, and today's must not drift."""

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from thumbwheel import events
from thumbwheel.events import (
    DeadLettered,
    DeadLetterSettled,
    Envelope,
    ErasureApplied,
    Event,
    FeedbackRecorded,
    FeedbackSealed,
    LearnerCommand,
    LearnerReported,
    PersonErased,
    PolicyPublished,
    PolicyRejected,
    PolicyRouted,
    ReviewAsked,
    ReviewMark,
    ReviewWithdrawn,
    TurnCompleted,
    TurnSealed,
)
from thumbwheel.types import AffectedVersion, Comparison, LearnerStatus, Sampling, StoredOffsets, Thumb, TurnChoice

GOLDEN = Path(__file__).parent / "golden"
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Where is order 1042?"},
]
LOOK_UP = {"id": "t1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
SAMPLING = Sampling(
    temperature=0.7,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    repetition_penalty=1.0,
    max_tokens=64,
    seed=7,
)

NOW: dict[str, Event] = {
    "turn_completed": TurnCompleted(
        completion_id="chatcmpl-1",
        conversation_id="conv-1",
        policy_version="v3",
        status="complete",
        origin="chat",
        created_ms=1_700_000_000_000,
        finished_ms=1_700_000_000_900,
        messages=MESSAGES,
        choices=[
            TurnChoice(
                index=0,
                text="On its way.",
                finish_reason="stop",
                token_ids=[5, 6, 2],
                logprobs=[-0.25, -1.5, -0.0625],
                tool_calls=[LOOK_UP],
            )
        ],
        model="thumbwheel",
        user="ann",
        routing_propensity=0.9,
        prompt_token_ids=[1, 3, 4],
        sampling=SAMPLING,
        metadata={"channel": "web"},
    ),
    "turn_completed-redacted": TurnCompleted(
        completion_id="chatcmpl-1",
        conversation_id="conv-1",
        policy_version="v3",
        status="complete",
        origin="chat",
        created_ms=1_700_000_000_000,
        finished_ms=1_700_000_000_900,
        messages=[MESSAGES[0], {"role": "user", "content": "Where is order [order]?"}],
        choices=[TurnChoice(index=0, text="On its way.", finish_reason="stop", tool_calls=[LOOK_UP])],
        model="thumbwheel",
        user="ann",
        routing_propensity=0.9,
        sampling=SAMPLING,
        metadata={"channel": "web"},
        redacted=True,
    ),
    "feedback_recorded": FeedbackRecorded(
        feedback_id="fb-1",
        revision=2,
        retracted=False,
        feedback=Thumb(completion_id="chatcmpl-1", value="down", reasons=["incorrect"], comment="No.", user="ann"),
        created_ms=1_700_000_001_000,
        completion_id="chatcmpl-1",
        conversation_id="conv-1",
        policy_version="v3",
        turn_status="complete",
        messages=MESSAGES,
        answer="On its way.",
        turn_created_ms=1_700_000_000_000,
    ),
    "feedback_recorded-comparison": FeedbackRecorded(
        feedback_id="fb-2",
        revision=1,
        retracted=True,
        feedback=Comparison(completion_id="chatcmpl-1", value="other", other_text="It left today.", source="llm"),
        created_ms=1_700_000_002_000,
        completion_id="chatcmpl-1",
        conversation_id="conv-1",
        policy_version="v3",
        turn_status="cut",
        messages=MESSAGES,
        answer="On",
        other_answer="It left today.",
        turn_created_ms=1_700_000_000_000,
    ),
    "turn_sealed": TurnSealed(
        completion_id="chatcmpl-1",
        conversation_id="conv-1",
        policy_version="v3",
        status="complete",
        origin="chat",
        created_ms=1_700_000_000_000,
        finished_ms=1_700_000_000_900,
        box=b"\x01\x00\x01 sealed",
    ),
    "feedback_sealed": FeedbackSealed(
        feedback_id="fb-1",
        revision=2,
        retracted=False,
        kind="thumb",
        created_ms=1_700_000_001_000,
        completion_id="chatcmpl-1",
        conversation_id="conv-1",
        policy_version="v3",
        turn_status="complete",
        box=b"\x01\x00\x01 sealed",
    ),
    "person_erased": PersonErased(erasure_id="er-1", keys=["0" * 32, "1" * 32], created_ms=1_700_000_011_000),
    "erasure_applied": ErasureApplied(
        erasure_id="er-1",
        turns=3,
        feedback=2,
        versions=[AffectedVersion(version="v4", examples=5, share=0.125, inherited=True)],
        created_ms=1_700_000_012_000,
    ),
    "feedback_recorded-review": FeedbackRecorded(
        feedback_id="fb-3",
        revision=1,
        retracted=False,
        feedback=Thumb(completion_id="chatcmpl-1", value="up", user="agent-7"),
        created_ms=1_700_000_013_000,
        completion_id="chatcmpl-1",
        conversation_id="conv-1",
        policy_version="v3",
        turn_status="complete",
        messages=MESSAGES,
        answer="On its way.",
        turn_created_ms=1_700_000_000_000,
        review=ReviewMark(review_id="rv-1", random=True),
    ),
    "review_asked": ReviewAsked(
        review_id="rv-1",
        kind="compare",
        conversation_id="conv-1",
        completion_id="chatcmpl-1",
        acquisition="bald",
        score=0.125,
        random=False,
        reward_model="rm-1",
        asked_ms=1_700_000_014_000,
        expires_ms=1_700_000_024_000,
        box=b"\x01\x00\x01 sealed",
    ),
    "review_withdrawn": ReviewWithdrawn(review_id="rv-1", reason="reranked", created_ms=1_700_000_015_000),
    "policy_published": PolicyPublished(
        version="v4", artifact="v4", manifest_sha256="ab" * 32, created_ms=1_700_000_003_000, promote="manual"
    ),
    "policy_routed": PolicyRouted(
        version="v4", previous="v3", epoch=5, reason="published", seconds=0.5, created_ms=1_700_000_004_000
    ),
    "policy_rejected": PolicyRejected(version="v5", reason="unsigned", created_ms=1_700_000_005_000),
    "learner_command": LearnerCommand(command="now", created_ms=1_700_000_006_000, stages=["sft", "ppo"]),
    "learner_reported": LearnerReported(
        status=LearnerStatus(
            state="training",
            stage="ppo",
            progress=0.5,
            run_id="run-1",
            detail="update 3 of 6",
            labels_total=120,
            labels_new=20,
            updated_ms=1_700_000_007_000,
            reward_model={"auc": 0.8},
            last_run={"version": "v4"},
        )
    ),
    "dead_lettered": DeadLettered(
        topic="thumbwheel.feedback",
        partition=2,
        offset=41,
        reason="not an event: JSON is malformed",
        key=b"fb-\xff",
        value=b'{"half',
        size=6,
        sha256="cd" * 32,
        created_ms=1_700_000_008_000,
    ),
    "dead_letter_settled": DeadLetterSettled(
        topic="thumbwheel.feedback", partition=2, offset=41, outcome="replayed", created_ms=1_700_000_009_000
    ),
    "learner_reported-stored": LearnerReported(
        status=LearnerStatus(
            state="idle",
            stage=None,
            progress=None,
            run_id=None,
            detail="2 new labels",
            labels_total=122,
            labels_new=2,
            updated_ms=1_700_000_008_000,
            stored=StoredOffsets("kafka", {"thumbwheel.turns/0": 41}),
        )
    ),
}


def envelope(event: Event) -> Envelope:
    return Envelope(event_id="ev-1", tenant="default", occurred_ms=1_700_000_010_000, event=event)


def test_every_event_of_today_has_a_golden_file() -> None:
    assert {type(event) for event in NOW.values()} == set(get_args(Event))
    expected = {f"{name}.v{event.schema_version}.json" for name, event in NOW.items()}
    assert expected <= {path.name for path in GOLDEN.glob("*.json")}


@pytest.mark.parametrize("name", NOW)
def test_today_s_event_is_written_as_it_always_was(name: str) -> None:
    event = NOW[name]
    golden = (GOLDEN / f"{name}.v{event.schema_version}.json").read_bytes()
    written = msgspec.json.decode(events.encode(envelope(event)))
    assert written == msgspec.json.decode(golden), (
        "what is on the bus has changed: give new fields a default, or raise schema_version and add a golden file"
    )


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_an_old_golden_parses(path: Path) -> None:
    parsed = events.decode(path.read_bytes())
    assert parsed.event_id == "ev-1"
    topic, key = events.topic_and_key(parsed.event)
    assert topic.name in events.TOPICS
    assert key


@pytest.mark.parametrize("name", NOW)
def test_a_golden_of_today_parses_into_what_was_meant(name: str) -> None:
    event = NOW[name]
    assert events.decode((GOLDEN / f"{name}.v{event.schema_version}.json").read_bytes()) == envelope(event)


def test_bytes_that_are_no_text_are_no_event_either() -> None:
    for value in (b'{"event_id":"\xff"}', b'{"tenant":' + b"[" * 100_000, b""):
        with pytest.raises(msgspec.DecodeError):
            events.decode(value)


def test_withdrawing_a_question_takes_its_place_on_the_bus() -> None:
    keys = {events.topic_and_key(NOW[name]) for name in ("review_asked", "review_withdrawn")}
    assert keys == {(events.REVIEWS, "rv-1")}
    assert events.REVIEWS.compacted


def test_settling_a_dead_letter_never_takes_its_place() -> None:
    keys = {events.topic_and_key(NOW[name])[1] for name in ("dead_lettered", "dead_letter_settled")}
    assert keys == {"thumbwheel.feedback/2/41", "settled/thumbwheel.feedback/2/41"}

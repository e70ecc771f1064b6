"""What a turn and a piece of feedback look like behind the redactor."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from thumbwheel.events import TurnCompleted
from thumbwheel.types import (
    Comparison,
    Correction,
    Critique,
    Demonstration,
    Feedback,
    Flag,
    Outcome,
    Rating,
    Thumb,
    TurnChoice,
)
from thumbwheel_service.redaction import FIELDS, KINDS
from thumbwheel_service.redaction.kinds import built_in
from thumbwheel_service.redaction.redactor import Beside, Redactor

MAIL = "ann@example.com"
ASKED: list[dict[str, Any]] = [{"role": "user", "content": f"I am {MAIL}"}]
CALL = {"id": "t1", "type": "function", "function": {"name": "send", "arguments": f'{{"to": "{MAIL}"}}'}}


def redactor(*fields: str) -> Redactor:
    return Redactor(built_in(KINDS), fields or FIELDS)


def turn(**changes: Any) -> TurnCompleted:
    plain = TurnCompleted(
        completion_id="c1",
        conversation_id="conv",
        policy_version="v1",
        status="complete",
        origin="chat",
        created_ms=1,
        finished_ms=2,
        messages=[{"role": "user", "content": "Hello"}],
        choices=[TurnChoice(index=i, text="Hi", token_ids=[1, 2], logprobs=[-0.5, -0.5]) for i in range(2)],
        model="m",
        user=MAIL,
        prompt_token_ids=[3, 4],
    )
    return replace(plain, **changes)


async def cleared(event: TurnCompleted, *fields: str, beside: Beside | None = None) -> TurnCompleted:
    return (await redactor(*fields).turn(event, beside)).value


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": ASKED},
        {"choices": [TurnChoice(index=0, text=f"Dear {MAIL}", token_ids=[1], logprobs=[-0.5])]},
        {"choices": [TurnChoice(index=0, text="", tool_calls=[CALL], token_ids=[1], logprobs=[-0.5])]},
        {"metadata": {"from": MAIL}},
    ],
)
async def test_a_redacted_turn_says_so_and_keeps_no_tokens(changes: dict[str, Any]) -> None:
    event = await cleared(turn(**changes))
    assert event.redacted is True
    assert event.prompt_token_ids is None
    assert all(choice.token_ids is choice.logprobs is None for choice in event.choices)
    assert MAIL not in str(msgspec.to_builtins(replace(event, user=None)))
    assert (event.user, event.completion_id) == (MAIL, "c1")
    assert event == (await cleared(event))


async def test_a_turn_with_nothing_to_hide_is_stored_as_it_is() -> None:
    event = turn()
    body = {"messages": ASKED, "user": MAIL, "thumbwheel": {"conversation_id": "4111111111111111"}}
    assert await cleared(event, beside=Beside(msgspec.json.encode(body), ["Hi"])) is event


@pytest.mark.parametrize(
    "beside",
    [
        Beside(b"{}", ["Hi", f"<think>This is {MAIL}.</think>Hi"]),
        Beside(msgspec.json.encode({"tools": [{"function": {"description": f"Writes to {MAIL}"}}]}), []),
    ],
)
async def test_token_ids_go_when_they_tell_what_the_texts_do_not(beside: Beside) -> None:
    event = await cleared(turn(), beside=beside)
    assert event.redacted is True
    assert event.prompt_token_ids is event.choices[0].token_ids is None


async def test_only_the_fields_asked_for() -> None:
    event = turn(messages=ASKED, choices=[TurnChoice(index=0, text=MAIL)], metadata={"from": MAIL})
    assert await cleared(event, "feedback") is event
    assert (await cleared(event, "answers")).messages == ASKED
    assert (await cleared(event, "answers")).choices[0].text == "[email]"
    assert (await cleared(event, "metadata")).metadata == {"from": "[email]"}
    assert (await cleared(event, "messages")).metadata == {"from": MAIL}


@pytest.mark.parametrize(
    "given",
    [
        Thumb(completion_id="c1", value="down", reasons=["style", MAIL], comment=MAIL),
        Rating(completion_id="c1", value=1, comment=MAIL, metadata={MAIL: MAIL}),
        Flag(completion_id="c1", value="unsafe", comment=MAIL),
        Comparison(completion_id="c1", value="tie", other_text=MAIL),
        Correction(completion_id="c1", text=MAIL),
        Critique(completion_id="c1", text=MAIL),
        Demonstration(messages=[{"role": "user", "content": MAIL}], text=MAIL),
        Outcome(completion_id="c1", name="solved", value=True, metadata={"by": MAIL}),
    ],
    ids=lambda given: type(given).__name__,
)
async def test_every_kind_of_feedback(given: Feedback) -> None:
    stored = (await redactor().feedback(replace(given, user=MAIL))).value
    assert MAIL not in str(msgspec.to_builtins(replace(stored, user=None)))
    assert stored.user == MAIL
    assert (await redactor().feedback(stored)).value == stored


async def test_what_grows_is_cut_to_what_the_wire_allows() -> None:
    many = "a@b.co " * 18
    thumb = Thumb(completion_id="c1", value="up", reasons=[many[:128]], metadata={"k": "a@b.co," * 73})
    stored = (await redactor().feedback(thumb)).value
    assert msgspec.json.decode(msgspec.json.encode(stored), type=Thumb) == stored
    assert "@" not in str(stored)


async def test_what_was_found_is_told_by_kind() -> None:
    found: Counter[str] = Counter()

    def observe(kinds: Mapping[str, int]) -> None:
        found.update(kinds)

    watched = redactor()
    watched.observe(observe)
    await watched.feedback(Correction(completion_id="c1", text=f"{MAIL} {MAIL} order 73036"))
    await watched.turn(turn(messages=ASKED))
    await watched.turn(turn())
    assert found == {"email": 3, "order": 1}


async def test_without_rules_everything_is_let_through() -> None:
    event, given = turn(messages=ASKED), Correction(completion_id="c1", text=MAIL)
    off = Redactor([])
    assert (await off.turn(event, Beside(b"not even JSON", []))).value is event
    assert (await off.feedback(given)).value is given
    assert off.again(event) is event

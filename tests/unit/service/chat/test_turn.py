"""A chat's identity is on disk before its first byte, its turn right after its last token, whoever leaves or fails."""

import asyncio
from typing import Any

import msgspec
import pytest
from litestar.types import HTTPDisconnectEvent
from sqlalchemy import event, select, update
from sqlmodel import Session
from tests.keyrings import opened
from tests.unit.service.chat.conftest import HELLO, Desk
from tests.waiting import eventually

from thumbwheel.events import FeedbackRecorded
from thumbwheel.types import Thumb
from thumbwheel_service.chat.losses import Losses
from thumbwheel_service.chat.recorder import TurnRecorder
from thumbwheel_service.chat.service import ChatService, ServiceStopping
from thumbwheel_service.db.tables import CompletionRow, LogRow, UnstoredRow
from thumbwheel_service.engine.protocol import ChatRefused, EngineDown
from thumbwheel_service.errors import TooMany, Unavailable
from thumbwheel_service.feedback.units import put
from thumbwheel_service.policies.router import Served, UnknownModel
from thumbwheel_service.redaction.cleared import Cleared
from thumbwheel_service.redaction.redactor import Redactor


async def gone() -> HTTPDisconnectEvent:
    return {"type": "http.disconnect"}


async def collect(turn: Any) -> str:
    await turn.first()
    return b"".join([chunk async for chunk in turn.chunks()]).decode()


async def test_an_answer_is_recorded_whole(desk: Desk) -> None:
    turn = desk.begin(metadata={"shop": "eu"}, user="ann")
    body = msgspec.json.decode(await turn.answer())
    await desk.recorder.drain()

    completion_id = turn.stamp.completion_id
    assert body["id"] == body["thumbwheel"]["completion_id"] == completion_id
    row = desk.row(completion_id)
    assert row is not None
    assert (row.status, row.origin, row.owner, row.user) == ("complete", "chat", "me/boot", "ann")
    (told,) = desk.events()
    assert told.messages == HELLO["messages"]
    assert (told.status, told.metadata, told.model) == ("complete", {"shop": "eu"}, "thumbwheel")
    assert told.prompt_token_ids == [1, 2, 3]
    assert told.choices[0].text == "I am base"
    assert told.choices[0].logprobs == [-0.5, -0.5, -0.5]
    assert told.sampling is not None
    assert told.routing_propensity == 1.0


async def test_a_stream_is_stamped_once_and_ends_with_done(desk: Desk) -> None:
    turn = desk.begin(stream=True, n=2)
    text = await collect(turn)
    await desk.recorder.drain()

    assert text.count('"thumbwheel":') == 1
    assert text.index('"thumbwheel":') < text.index("\n\n")
    assert text.endswith("data: [DONE]\n\n")
    assert [choice.text for choice in desk.events()[0].choices] == ["I am base", "I am base"]


@pytest.mark.parametrize("stream", [False, True])
async def test_no_byte_before_the_identity_is_on_disk(desk: Desk, stream: bool) -> None:
    seen: list[str] = []

    def look(*_: object) -> None:
        seen.append("commit")

    event.listen(desk.database, "commit", look)
    turn = desk.begin(stream=stream)
    if stream:
        await turn.first()
    else:
        await turn.answer()
    assert seen
    assert desk.row(turn.stamp.completion_id) is not None


@pytest.mark.parametrize("stream", [False, True])
async def test_a_database_that_fails_costs_the_chat_not_the_record(desk: Desk, stream: bool) -> None:
    with Session(desk.database) as session:
        session.connection().exec_driver_sql("ALTER TABLE completion RENAME TO away")
        session.commit()
    turn = desk.begin(stream=stream)
    with pytest.raises(Unavailable):
        await (turn.first() if stream else turn.answer())
    await desk.recorder.drain()
    assert desk.engine.chats[0].aborted or not stream
    assert desk.events() == []
    assert desk.chats.in_flight == 0


async def test_the_answer_is_not_held_back_by_the_turns_own_write(desk: Desk) -> None:
    desk.engine.hold()
    turn = desk.begin()
    await asyncio.sleep(0.05)
    with Session(desk.database) as session:
        session.connection(execution_options={"writes": True}).exec_driver_sql("UPDATE completion SET n = n")
        desk.engine.go_on()
        await asyncio.wait_for(turn.answer(), 5)
        row = desk.row(turn.stamp.completion_id)
        assert row is not None
        assert row.status == "open"
    await desk.recorder.drain()
    row = desk.row(turn.stamp.completion_id)
    assert row is not None
    assert row.status == "complete"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_cuts_the_chat_and_keeps_what_was_said(desk: Desk, stream: bool) -> None:
    desk.engine.says = lambda _: "one two three four"
    desk.engine.hold_after(2)
    turn = desk.begin(stream=stream)
    if stream:
        await turn.first()
    await asyncio.sleep(0.05)
    turn.watch(gone)
    await (collect(turn) if stream else turn.answer())
    await desk.recorder.drain()
    (told,) = desk.events()
    assert told.status == "cut"
    assert told.choices[0].finish_reason == "abort"
    assert (told.choices[0].text, told.choices[0].token_ids) == ("one two", [0, 1])
    assert desk.router.live.in_flight == desk.chats.in_flight == 0


async def test_store_false_keeps_only_the_refusal(desk: Desk) -> None:
    turn = desk.begin(store=False)
    await turn.answer()
    await desk.recorder.drain()
    assert desk.row(turn.stamp.completion_id) is None
    assert desk.events() == []
    with Session(desk.database) as session:
        assert session.get(UnstoredRow, turn.stamp.completion_id) is not None


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_engine_refuses_leaves_no_trace(desk: Desk, stream: bool) -> None:
    turn = desk.begin(temperature="bad", stream=stream)
    with pytest.raises(ChatRefused):
        await (turn.first() if stream else turn.answer())
    await desk.recorder.drain()
    assert desk.row(turn.stamp.completion_id) is None
    assert desk.router.live.in_flight == 0


async def test_an_engine_that_dies_in_mid_answer_leaves_a_cut_turn(desk: Desk) -> None:
    desk.engine.hold()
    turn = desk.begin()
    await asyncio.sleep(0.02)
    desk.engine.die()
    with pytest.raises(EngineDown):
        await turn.answer()
    await desk.recorder.drain()
    row = desk.row(turn.stamp.completion_id)
    assert row is not None
    assert row.status == "cut"
    with pytest.raises(EngineDown):
        desk.begin()
    assert desk.router.live.in_flight == 0


async def test_an_engine_that_dies_in_mid_stream_is_said_in_the_stream(desk: Desk) -> None:
    turn = desk.begin(stream=True)
    await turn.first()
    desk.engine.die()
    text = b"".join([chunk async for chunk in turn.chunks()]).decode()
    assert '"error"' in text
    assert text.endswith("data: [DONE]\n\n")


async def test_a_chat_ends_on_the_version_it_began_with(desk: Desk) -> None:
    old, new = Served("old", "old@1"), Served("new", "new@2")
    desk.router.route(old)
    desk.engine.hold()
    before = desk.begin()
    desk.router.route(new)
    after = desk.begin()
    assert (old.in_flight, new.in_flight) == (1, 1)
    desk.engine.go_on()
    await before.answer()
    await after.answer()
    await desk.recorder.drain()
    assert sorted((told.policy_version, told.choices[0].text) for told in desk.events()) == [
        ("new", "I am new@2"),
        ("old", "I am old@1"),
    ]
    await asyncio.wait_for(old.drained(), 1)


async def test_a_model_is_the_alias_or_a_public_version(desk: Desk) -> None:
    desk.router.publish(Served("v1", "v1@1"))
    body = msgspec.json.decode(await desk.begin(model="v1").answer())
    assert (body["model"], body["thumbwheel"]["policy_version"]) == ("v1", "v1")
    with pytest.raises(UnknownModel):
        desk.begin(model="v1@1")
    listed = desk.chats.models()["data"]
    assert [model["id"] for model in listed] == ["thumbwheel", "base", "v1"]  # type: ignore[index, union-attr]


async def test_too_many_chats_are_refused(desk: Desk) -> None:
    desk.engine.hold()
    turns = [desk.begin() for _ in range(4)]
    with pytest.raises(TooMany):
        desk.begin()
    desk.engine.go_on()
    for turn in turns:
        await turn.answer()
    await desk.begin().answer()


async def test_draining_lets_chats_end_and_cuts_what_does_not(desk: Desk) -> None:
    quick = desk.begin()
    await desk.chats.drain(5.0)
    assert msgspec.json.decode(await quick.answer())["id"] == quick.stamp.completion_id
    with pytest.raises(ServiceStopping):
        desk.begin()


async def test_draining_cuts_a_chat_that_does_not_end(desk: Desk) -> None:
    desk.engine.hold()
    turn = desk.begin()
    await asyncio.sleep(0.02)
    await desk.chats.drain(0.05)
    row = desk.row(turn.stamp.completion_id)
    assert row is not None
    assert row.status == "cut"


async def test_a_turn_waits_for_a_database_that_comes_back(desk: Desk) -> None:
    desk.engine.hold()
    turn = desk.begin()
    await asyncio.sleep(0.05)
    with Session(desk.database) as session:
        session.connection().exec_driver_sql("ALTER TABLE log RENAME TO away")
        session.commit()
    desk.engine.go_on()
    await turn.answer()
    await asyncio.sleep(0.02)
    with Session(desk.database) as session:
        session.connection().exec_driver_sql("ALTER TABLE away RENAME TO log")
        session.commit()
    await desk.recorder.drain()
    assert [told.completion_id for told in desk.events()] == [turn.stamp.completion_id]


async def test_a_turn_that_cannot_be_stored_is_lost_and_its_feedback_told(desk: Desk) -> None:
    recorder = TurnRecorder(
        desk.writer,
        desk.metrics,
        Redactor([]),
        owner="me/boot",
        retries=(0.01,),
        losses=Losses(desk.writer, pause=0.01),
    )
    chats = ChatService(desk.engine, desk.router, recorder, desk.metrics, limit=4)
    desk.engine.hold()
    turn = chats.begin("default", msgspec.json.encode(HELLO), {})
    completion_id = turn.stamp.completion_id
    await eventually(lambda: desk.row(completion_id))
    await desk.writer.run(
        lambda session: put(session, "default", Cleared(Thumb(completion_id=completion_id, value="up")))
    )
    rename(desk, "log", "away")
    desk.engine.go_on()
    await turn.answer()
    await eventually(lambda: desk.metrics.lost_turns._value.get() == 1.0)
    rename(desk, "away", "log")
    await eventually(lambda: (row := desk.row(completion_id)) and row.status == "lost")
    await recorder.drain()
    with Session(desk.database) as session:
        (told,) = [opened(value) for value in session.execute(select(LogRow.value)).scalars()]
    assert isinstance(told, FeedbackRecorded)
    assert (told.completion_id, told.turn_status, told.answer) == (completion_id, "lost", None)


async def test_an_identity_that_came_too_late_does_not_stay_open(desk: Desk) -> None:
    """The commit was in doubt: the client was told no, and the row turned out to be there."""
    losses = Losses(desk.writer, pause=0.01)
    turn = desk.begin()
    await turn.answer()
    await desk.recorder.drain()
    late = turn.stamp.completion_id
    await desk.writer.run(lambda session: session.execute(update(CompletionRow).values(status="open")))
    losses.add(late)
    losses.add("never-there")
    await eventually(lambda: (row := desk.row(late)) and row.status == "lost")
    await losses.close()


def rename(desk: Desk, table: str, other: str) -> None:
    with Session(desk.database) as session:
        session.connection().exec_driver_sql(f"ALTER TABLE {table} RENAME TO {other}")
        session.commit()

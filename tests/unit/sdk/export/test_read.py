"""Feedback and turns of a scripted service become rows; each is counted once, and turns are asked for in bulk."""

from typing import Any

import msgspec
import pytest
from tests.unit.sdk.export.test_rows import record, turn
from tests.unit.sdk.fake_service import AT_ONCE as NO_WAIT
from tests.unit.sdk.fake_service import Scripted, ok, problem

from thumbwheel import Client, ServerError
from thumbwheel.export.read import AT_ONCE, Tally, read_rows
from thumbwheel.types import Comparison, Correction, Demonstration, Feedback, Thumb


def page(*items: Any, cursor: str | None = None) -> Any:
    return ok(msgspec.to_builtins({"items": items, "next": cursor}))


def client(*answers: Any) -> tuple[Client, Scripted]:
    transport = Scripted(*answers)
    return Client("http://service", transport=transport, backoff=NO_WAIT, max_retries=0), transport


def up(completion_id: str, **more: Any) -> Feedback:
    return Thumb(completion_id=completion_id, value="up", **more)


def given(feedback: Feedback, number: int, **more: Any) -> Any:
    fields = {"completion_id": getattr(feedback, "completion_id", None), "feedback_id": f"fb-{number}"}
    return record(feedback, **fields | {"created_ms": 1000 - number} | more)


def test_every_piece_is_written_or_counted_with_its_reason() -> None:
    pieces = [
        given(up("c1"), 1),
        given(up("c1", source="llm"), 2),
        given(up("c2"), 3, retracted=True),
        given(up("gone"), 4),
        given(up("lost"), 5),
    ]
    service, transport = client(page(*pieces), page(turn("c1"), turn("lost", status="lost")))
    tally = Tally()
    rows = list(read_rows(service, "thumbs", {"policy_version": "p-1", "page_size": 9}, ["human"], tally))
    assert [row["feedback_id"] for row in rows] == ["fb-1"]
    assert (tally.written, tally.reached_ms) == (1, 995)
    assert tally.left_out == {"source llm": 1, "retracted": 1, "the service has no such turn": 1, "lost turn": 1}
    asked = [request.url.params.multi_items() for request in transport.requests]
    assert asked[0] == [("kind", "thumb"), ("policy_version", "p-1"), ("limit", "9")]
    assert [value for name, value in asked[1] if name == "completion_id"] == ["c1", "gone", "lost"]


def test_both_sides_of_a_comparison_are_looked_up() -> None:
    beside = Comparison(completion_id="c1", value="other", other_completion_id="c2", other_choice=1)
    service, transport = client(page(given(beside, 1)), page(turn("c1"), turn("c2")))
    (row,) = read_rows(service, "preferences", {}, ["human"], Tally())
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("Gone.", "Here.")
    assert transport.requests[0].url.params.get_list("kind") == ["comparison", "correction"]


def test_many_turns_are_asked_for_fifty_at_a_time_and_each_once() -> None:
    number = AT_ONCE + 10
    pieces = [given(up(f"c{i % number}"), i) for i in range(2 * AT_ONCE)]
    turns = [turn(f"c{i}") for i in range(number)]
    service, transport = client(page(*pieces), page(*turns[:AT_ONCE]), page(*turns[AT_ONCE:]))
    assert len(list(read_rows(service, "thumbs", {}, ["human"], Tally()))) == 2 * AT_ONCE
    asked = [request.url.params.get_list("completion_id") for request in transport.requests[1:]]
    assert [len(ids) for ids in asked] == [AT_ONCE, 10]


def test_what_needs_no_turn_asks_for_none() -> None:
    shown = Demonstration(messages=[{"role": "user", "content": "q"}], text="a")
    gone = given(Correction(completion_id="c1", text="x"), 2, retracted=True)
    service, transport = client(page(given(shown, 1), gone))
    assert len(list(read_rows(service, "corrections", {}, ["human"], Tally()))) == 1
    assert len(transport.requests) == 1


def test_turns_come_page_by_page() -> None:
    service, transport = client(page(turn("c1"), turn("open", status="open"), cursor="5~x"), page(turn("c2")))
    tally = Tally()
    rows = read_rows(service, "turns", {"user": "ann"}, [], tally)
    assert next(rows)["completion_id"] == "c1"
    assert len(transport.requests) == 1
    assert [row["completion_id"] for row in rows] == ["c2"]
    assert tally.left_out == {"still being answered": 1}


def test_a_service_that_fails_half_way_fails_the_export() -> None:
    service, _ = client(page(turn("c1"), cursor="5~x"), problem(500))
    with pytest.raises(ServerError):
        list(read_rows(service, "turns", {}, [], Tally()))

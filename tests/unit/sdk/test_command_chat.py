"""`thumbwheel chat`: one shot, a conversation, and the thumbs in between."""

from collections.abc import Iterator

import pytest
from tests.unit.sdk.desk import Desk

from thumbwheel import Client
from thumbwheel.cli import main
from thumbwheel.commands.chat import Session


@pytest.fixture
def session(desk: Desk) -> Iterator[Session]:
    with Client(desk.url) as client:
        made = Session(client, said.append, "ann", {"model": None})
        made.begin(None)
        said.clear()
        yield made


said: list[str] = []


def test_one_message_one_answer(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "-m", "hello", "--user", "ann", "--system", "be kind"]) == 0
    assert "you said hello" in capsys.readouterr().out
    body = desk.asked[-1][2]
    assert body["messages"] == [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]
    assert body["user"] == "ann"
    assert body["stream"] is True


def test_a_conversation_from_the_keyboard(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = iter(["hello", "", "/up nice", "/quit", "never read"])
    monkeypatch.setattr("builtins.input", lambda _prompt: next(lines))
    assert main(["chat"]) == 0
    assert "thumb recorded" in capsys.readouterr().out
    assert desk.feedback[0]["comment"] == "nice"
    assert next(lines) == "never read"


def test_the_end_of_input_ends_the_chat(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    assert main(["chat"]) == 0


def test_what_was_said_goes_along(desk: Desk, session: Session) -> None:
    session.take("one")
    session.take("two")
    sent = desk.asked[-1]
    assert [m["content"] for m in sent[2]["messages"]] == ["one", "you said one ", "two"]
    assert sent[3]["x-thumbwheel-conversation-id"] == "conv-1"
    session.take("/new")
    session.take("three")
    assert [m["content"] for m in desk.asked[-1][2]["messages"]] == ["three"]
    assert "x-thumbwheel-conversation-id" not in desk.asked[-1][3]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/up", {"kind": "thumb", "value": "up"}),
        ("/down too slow", {"kind": "thumb", "value": "down", "comment": "too slow"}),
        ("/rate 4", {"kind": "rating", "value": 4}),
        ("/flag unsafe", {"kind": "flag", "value": "unsafe"}),
        ("/flag it is odd", {"kind": "flag", "value": "other", "comment": "it is odd"}),
        ("/correct Say please.", {"kind": "correction", "text": "Say please."}),
    ],
)
def test_feedback_by_key(desk: Desk, session: Session, line: str, expected: dict[str, object]) -> None:
    session.take("one")
    session.take(line)
    given = desk.feedback[-1]
    assert {name: given[name] for name in expected} == expected
    assert given["user"] == "ann"
    assert given["completion_id"].startswith("c-")


def test_a_correction_is_what_the_conversation_goes_on_with(desk: Desk, session: Session) -> None:
    session.take("one")
    session.take("/correct Better.")
    session.take("two")
    assert desk.asked[-1][2]["messages"][1]["content"] == "Better."


def test_feedback_can_be_undone(desk: Desk, session: Session) -> None:
    session.take("one")
    session.take("/undo")
    assert "no feedback of yours" in said[-1]
    session.take("/up")
    session.take("/undo")
    assert desk.asked[-1][:2] == ("DELETE", "/v1/feedback/fb-1")


@pytest.mark.parametrize(("line", "answer"), [("/rate 9", "1 to 5"), ("/correct", "better answer"), ("/help", "/up")])
def test_what_a_key_needs_is_said(desk: Desk, session: Session, line: str, answer: str) -> None:
    session.take("one")
    session.take(line)
    assert answer in said[-1]
    assert desk.feedback == []


def test_no_feedback_before_the_first_answer(desk: Desk, session: Session) -> None:
    session.take("/up")
    assert "no answer yet" in said[-1]

"""`thumbwheel dead-letters` against a service whose log holds some."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.learner_events import feedback, turn
from tests.unit.sdk.desk import Desk

from thumbwheel.bus import NewRecord, Record
from thumbwheel.bus.embedded import EmbeddedBus
from thumbwheel.cli import main
from thumbwheel.dead_letters import read_letters
from thumbwheel.events import DEAD_LETTERS, FEEDBACK, TURNS, DeadLettered, encode, letter_id, topic_and_key, wrap

Output = pytest.CaptureFixture[str]
NASTY = "not an event: \x1b[2J\u202e[red]:smile:"


class Post:
    """The desk's log, with letters on it."""

    def __init__(self, desk: Desk) -> None:
        self.bus = EmbeddedBus(desk.url, "admin-key")

    def lose(self, offset: int, value: bytes, topic: str = FEEDBACK.name, **more: object) -> str:
        given = {"key": b"fb-1", "reason": NASTY, "whole": True, "size": len(value), "sha256": "ab" * 32} | more
        event = DeadLettered(topic=topic, partition=0, offset=offset, value=value, created_ms=1 + offset, **given)
        where, key = topic_and_key(event)
        self.bus.append([NewRecord(where.name, key, f"dl-{topic}-{offset}", encode(wrap(event)))])
        return letter_id(event)

    def states(self) -> list[str]:
        return [letter.state for letter in read_letters(self.bus).values()]

    def records(self, topic: str) -> list[Record]:
        consumer = self.bus.consumer([topic], group=None, start=lambda at: 0)
        return consumer.poll(0)


@pytest.fixture
def post(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    monkeypatch.setenv("THUMBWHEEL_API_KEY", "admin-key")
    post = Post(desk)
    with post.bus:
        yield post


def test_the_table_shows_what_is_open_and_nothing_that_a_terminal_obeys(post: Post, capsys: Output) -> None:
    post.lose(3, b"half")
    post.lose(4, b"other", topic=TURNS.name)
    assert main(["dead-letters"]) == 0
    said = capsys.readouterr().out
    assert "thumbwheel.feedback/0/3" in said
    assert "not an event: \\u001b[2J\\u202e[red]:smile:" in said
    assert "2 open, 0 settled" in said
    assert said.replace("\n", "").isprintable()
    assert main(["dead-letters", "list", "--topic", TURNS.name]) == 0
    assert "1 open" in capsys.readouterr().out
    assert main(["dead-letters", "--json", "list"]) == 0
    first, _ = json.loads(capsys.readouterr().out)
    assert (first["id"], first["state"], first["size"]) == ("thumbwheel.feedback/0/3", "open", 4)


def test_nothing_there_is_said(post: Post, capsys: Output) -> None:
    assert main(["dead-letters"]) == 0
    assert capsys.readouterr().out == "0 open, 0 settled\n"
    assert main(["dead-letters", "replay", "--all"]) == 0
    assert capsys.readouterr().out == "nothing to replay\n"


def test_one_is_shown_in_full_and_its_bytes_are_written(post: Post, tmp_path: Path, capsys: Output) -> None:
    name = post.lose(3, b'{"a":"\xc2\x9b1m"}')
    assert main(["dead-letters", "show", name]) == 0
    said = capsys.readouterr().out
    for piece in ("state        open", "key          fb-1", "12 bytes, sha256 abab", '"a": "\\u009b1m"'):
        assert piece in said
    assert said.replace("\n", "").isprintable()
    assert main(["dead-letters", "show", name, "--raw", str(tmp_path / "raw")]) == 0
    assert (tmp_path / "raw").read_bytes() == b'{"a":"\xc2\x9b1m"}'
    capsys.readouterr()
    assert main(["dead-letters", "show", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == "ZmItMQ=="


def test_a_long_value_is_shown_in_part(post: Post, capsys: Output) -> None:
    name = post.lose(3, json.dumps(list(range(2000))).encode())
    assert main(["dead-letters", "show", name]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) < 420
    assert "--raw FILE writes all of it" in said


def test_a_letter_that_is_not_there_is_a_usage_error(post: Post, capsys: Output) -> None:
    assert main(["dead-letters", "show", "thumbwheel.turns/0/9\x1b"]) == 2
    said = capsys.readouterr().err
    assert "no dead letter" in said
    assert "\x1b" not in said


def test_replay_puts_the_bytes_back_under_their_key_and_settles_the_letter(post: Post, capsys: Output) -> None:
    value = encode(wrap(feedback(1)))
    name = post.lose(3, value)
    assert main(["dead-letters", "replay", name, "--yes"]) == 0
    assert capsys.readouterr().out == f"replayed {name}\n"
    [record] = post.records(FEEDBACK.name)
    assert (record.key, record.value) == ("fb-1", value)
    assert post.states() == ["replayed"]
    assert main(["dead-letters", "list", "--settled"]) == 0
    assert "replayed" in capsys.readouterr().out
    assert main(["dead-letters", "replay", name, "--yes"]) == 0
    assert len(post.records(FEEDBACK.name)) == 2, "named again, it is replayed again, under another id of the log"


def test_a_letter_announced_anew_stays_settled(post: Post) -> None:
    name = post.lose(3, b"half")
    assert main(["dead-letters", "dismiss", name, "--yes"]) == 0
    post.lose(3, b"half", reason="said again by a learner that reads from the beginning")
    assert post.states() == ["dismissed"]


def test_all_means_the_open_ones_and_those_of_a_topic_only_its_own(post: Post) -> None:
    for offset in range(3):
        post.lose(offset, b"half")
    post.lose(7, b"other", topic=TURNS.name)
    assert main(["dead-letters", "dismiss", "thumbwheel.feedback/0/0", "--yes"]) == 0
    assert main(["dead-letters", "replay", "--topic", FEEDBACK.name, "--yes"]) == 0
    assert post.states() == ["dismissed", "replayed", "replayed", "open"]
    assert main(["dead-letters", "dismiss", "--all", "--yes"]) == 0
    assert post.states()[-1] == "dismissed"
    assert (len(post.records(FEEDBACK.name)), len(post.records(TURNS.name))) == (2, 0)


def test_a_mended_value_goes_in_its_place(post: Post, tmp_path: Path) -> None:
    name = post.lose(3, b"half", key=b"what was this")
    mended = encode(wrap(feedback(8)))
    (tmp_path / "mended.json").write_bytes(mended)
    assert main(["dead-letters", "replay", name, "--yes", "--value", str(tmp_path / "mended.json")]) == 0
    [record] = post.records(FEEDBACK.name)
    assert (record.key, record.value) == ("fb-8", mended)


@pytest.mark.parametrize(
    ("value", "words"), [(b"half still", "not an event"), (encode(wrap(turn(1))), "belongs on thumbwheel.turns")]
)
def test_a_mended_value_must_be_an_event_of_that_topic(
    post: Post, tmp_path: Path, capsys: Output, value: bytes, words: str
) -> None:
    name = post.lose(3, b"half")
    (tmp_path / "mended.json").write_bytes(value)
    assert main(["dead-letters", "replay", name, "--yes", "--value", str(tmp_path / "mended.json")]) == 1
    assert words in capsys.readouterr().err
    assert post.records(FEEDBACK.name) == []
    assert post.states() == ["open"]


def test_a_cut_one_cannot_go_back_and_keeps_back_no_other(post: Post, tmp_path: Path, capsys: Output) -> None:
    name = post.lose(3, b"the beginni", whole=False, size=12_000_000)
    post.lose(4, b"half")
    assert main(["dead-letters", "replay", "--all", "--yes"]) == 1
    said = capsys.readouterr()
    assert f"not replayed: {name} is too large to be carried whole (12000000 bytes)" in said.err
    assert said.out == "replayed thumbwheel.feedback/0/4\n"
    assert post.states() == ["open", "replayed"]
    assert main(["dead-letters", "show", name]) == 0
    assert "only 11 bytes travelled" in capsys.readouterr().out
    assert main(["dead-letters", "show", name, "--raw", str(tmp_path / "raw")]) == 0
    assert "11 bytes, the beginning of 12000000" in capsys.readouterr().err


class Person(io.StringIO):
    """Somebody at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("said", "status", "state"), [("y\n", 0, "replayed"), ("\n", 1, "open")])
def test_a_person_is_asked(
    post: Post, monkeypatch: pytest.MonkeyPatch, capsys: Output, said: str, status: int, state: str
) -> None:
    post.lose(3, b"half")
    monkeypatch.setattr("sys.stdin", Person(said))
    assert main(["dead-letters", "replay", "--all"]) == status
    assert post.states() == [state]
    assert "replay 1? [y/N]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["replay"], "which ones?"),
        (["replay", "--all", "--topic", FEEDBACK.name], "which ones?"),
        (["replay", "--all"], "give --yes"),
        (["replay", "--all", "--value", "x"], "exactly one"),
        (["replay", "thumbwheel.feedback/0/3", "--value", "/no/such/file"], "--value /no/such/file"),
        (["show", "thumbwheel.feedback/0/3", "--raw", "/no/such/folder/x"], "--raw"),
    ],
)
def test_what_is_missing_is_said(
    post: Post, monkeypatch: pytest.MonkeyPatch, capsys: Output, words: list[str], hint: str
) -> None:
    post.lose(3, b"half")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["dead-letters", *words]) == 2
    assert hint in capsys.readouterr().err
    assert post.states() == ["open"]


def test_what_is_no_letter_on_that_topic_is_left_out(post: Post) -> None:
    post.lose(3, b"half")
    post.bus.append([NewRecord(DEAD_LETTERS.name, "x", "x", b"junk")])
    post.bus.append([NewRecord(DEAD_LETTERS.name, "y", "y", encode(wrap(turn(1))))])
    assert post.states() == ["open"]


def test_a_service_whose_bus_is_kafka_says_where_to_look(post: Post, desk: Desk, capsys: Output) -> None:
    desk.bus = "kafka"
    assert main(["dead-letters"]) == 2
    assert "--kafka-bootstrap" in capsys.readouterr().err
    assert main(["dead-letters", "--kafka-bootstrap", "127.0.0.1:9"]) == 1
    assert "no Kafka broker answers" in capsys.readouterr().err


def test_without_a_key_the_message_says_what_is_needed(desk: Desk, tmp_path: Path, capsys: Output) -> None:
    assert main(["dead-letters", "--data", str(tmp_path)]) == 2
    assert "admin key" in capsys.readouterr().err

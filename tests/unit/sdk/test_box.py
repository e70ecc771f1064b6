"""Boxes open under all of their keys and under nothing else; sealed events come back as they were."""

import msgspec
import pytest
from tests.contract.test_golden_events import NOW

from thumbwheel import box
from thumbwheel.box import BoxDamaged, Erased
from thumbwheel.events import FeedbackRecorded, TurnCompleted, decode, encode, topic_and_key, wrap
from thumbwheel.sealed import open_feedback, open_turn, seal_feedback, seal_turn

ANN, BOB = {"aa" * 16: b"a" * 32}, {"bb" * 16: b"b" * 32}
BOTH = ANN | BOB


def test_it_opens_under_all_keys_and_its_name() -> None:
    sealed = box.seal(b"where is my order?", BOTH, "turn/1")
    assert box.is_box(sealed)
    assert box.key_ids(sealed) == sorted(BOTH)
    assert b"order" not in sealed
    assert box.unseal(sealed, BOTH | {"cc" * 16: b"c" * 32}, "turn/1") == b"where is my order?"


@pytest.mark.parametrize("left", [ANN, BOB, {}])
def test_with_any_key_gone_it_stays_closed(left: dict[str, bytes]) -> None:
    with pytest.raises(Erased, match="turn/1"):
        box.unseal(box.seal(b"content", BOTH, "turn/1"), left, "turn/1")


def test_neither_another_name_nor_another_key_nor_other_bytes_open_it() -> None:
    sealed = box.seal(b"content", ANN, "turn/1")
    changed = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    for bad in (*changed, sealed[:-1], sealed + b"x", b"", b"\x01", b"{}"):
        with pytest.raises(box.BoxError):
            box.unseal(bad, ANN, "turn/1")
    with pytest.raises(BoxDamaged):
        box.unseal(sealed, ANN, "turn/2")
    with pytest.raises(BoxDamaged):
        box.unseal(sealed, {"aa" * 16: b"x" * 32}, "turn/1")


def test_the_same_content_is_the_same_box_and_another_shares_nothing_with_it() -> None:
    one, again, other = (box.seal(text, ANN, "n") for text in (b"yes", b"yes", b"yet"))
    assert one == again
    assert one[19:31] != other[19:31], "another nonce"


def test_a_box_needs_a_key() -> None:
    with pytest.raises(ValueError, match="1 to"):
        box.seal(b"content", {}, "n")


def test_json_of_before_is_no_box() -> None:
    assert not box.is_box(b'{"text":"x"}')
    with pytest.raises(BoxDamaged):
        box.key_ids(b'{"text":"x"}')


@pytest.mark.parametrize("name", ["turn_completed", "turn_completed-redacted"])
def test_a_turn_comes_out_as_it_went_in(name: str) -> None:
    turn = NOW[name]
    assert isinstance(turn, TurnCompleted)
    sealed = seal_turn(turn, BOTH)
    assert topic_and_key(sealed) == topic_and_key(turn)
    on_the_bus = encode(wrap(sealed))
    assert b"order" not in on_the_bus
    assert b"ann" not in on_the_bus
    event = decode(on_the_bus).event
    assert event == sealed
    assert open_turn(sealed, BOTH) == turn


@pytest.mark.parametrize("name", ["feedback_recorded", "feedback_recorded-comparison"])
def test_feedback_comes_out_as_it_went_in(name: str) -> None:
    feedback = NOW[name]
    assert isinstance(feedback, FeedbackRecorded)
    sealed = seal_feedback(feedback, ANN)
    assert topic_and_key(sealed) == topic_and_key(feedback)
    assert sealed.kind == type(feedback.feedback).__name__.lower()
    assert b"way" not in encode(wrap(sealed))
    assert open_feedback(sealed, ANN) == feedback


def test_a_box_of_something_else_is_damaged() -> None:
    turn = NOW["turn_completed"]
    assert isinstance(turn, TurnCompleted)
    other = box.seal(b'{"not":"a turn"}', ANN, f"turn/{turn.completion_id}")
    wrong = msgspec.structs.replace(seal_turn(turn, ANN), box=other)
    with pytest.raises(BoxDamaged, match="does not hold"):
        open_turn(wrong, ANN)

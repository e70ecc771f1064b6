"""Every text within a message, a tool call or metadata is looked at; ids and the contents of files stay."""

import json
from collections import Counter
from typing import Any

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from thumbwheel_service.redaction import KINDS
from thumbwheel_service.redaction.kinds import built_in
from thumbwheel_service.redaction.rules import Rule
from thumbwheel_service.redaction.scrubber import Scrubber
from thumbwheel_service.redaction.values import Values

VALUES = Values(Scrubber(built_in(KINDS)))
MAIL, CARD = "ann@example.com", 4111111111111111
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
LEAVES |= st.sampled_from([MAIL, CARD, "order 73036", "73036", "4111 1111 1111 1111", "[email]", '{"order": 73036}'])
KEYS = st.sampled_from(["order_id", "phone", "content", "note", MAIL, "ann@example.org", "x", "text"])
NESTED = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner), max_leaves=8)


def message(value: Any) -> Any:
    return VALUES.message(value, Counter())


def arguments(**given: Any) -> dict[str, Any]:
    return json.loads(VALUES.text(json.dumps(given), Counter()))


def test_each_text_part_of_a_message_and_its_name() -> None:
    parts = [{"type": "text", "text": f"I am {MAIL}"}, {"type": "text", "text": "order 73036"}]
    assert message({"role": "user", "name": MAIL, "content": parts}) == {
        "role": "user",
        "name": "[email]",
        "content": [{"type": "text", "text": "I am [email]"}, {"type": "text", "text": "order [order]"}],
    }


def test_a_part_is_read_behind_the_one_before() -> None:
    parts = [{"type": "text", "text": text} for text in ("My order number is", "73036", "call me at", "5551234567 !")]
    told = [part["text"] for part in message({"role": "user", "content": parts})["content"]]
    assert told == ["My order number is", "[order]", "call me at", "[phone] !"]


@pytest.mark.parametrize("part", [
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8+49151234567/4111111111111111=="}},
    {"type": "input_audio", "input_audio": {"data": "QUJD" * 20 + "4111111111111111" * 2 + "=", "format": "wav"}},
])  # fmt: skip
def test_pictures_and_files_stay_as_they_are(part: dict[str, Any]) -> None:
    assert message(part) is part


def test_an_address_in_the_url_of_a_picture_goes() -> None:
    for url in (f"https://example.com/{MAIL}.png", f"data: {MAIL}"):
        assert MAIL not in str(message({"type": "image_url", "image_url": {"url": url}}))


def test_ids_stay() -> None:
    call = {"id": "call_4111111111111111", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    told = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "+4915112345678"}]
    assert message(told) is told


def test_arguments_of_a_tool_call_stay_json() -> None:
    text = json.dumps({"to": f"{MAIL}", "card": CARD, "lines": [f"tel\n030 1234567 {MAIL}", 7, True, None]})
    call = message({"id": "c", "function": {"name": "send", "arguments": text}})
    assert json.loads(call["function"]["arguments"]) == {
        "to": "[email]",
        "card": "[card]",
        "lines": ["tel\n[phone] [email]", 7, True, None],
    }


def test_arguments_without_anything_to_hide_keep_every_byte() -> None:
    text = '{ "a":1.0,\t"b": "\\u0041" }'
    assert VALUES.text(text, Counter()) is text


def test_the_key_says_what_a_number_is() -> None:
    assert arguments(order_id="73036", orderNumber=73037, phone="5551234567", count=73036, at=1700000000000) == {
        "order_id": "[order]",
        "orderNumber": "[order]",
        "phone": "[phone]",
        "count": 73036,
        "at": 1700000000000,
    }


def test_keys_are_texts_too_and_none_is_lost() -> None:
    pairs = {MAIL: "a", "bob@example.com": "b", "conversation_id": "4111111111111111"}
    assert VALUES.pairs(pairs, Counter()) == {
        "[email]": "a",
        "[email] 2": "b",
        "conversation_id": "4111111111111111",
    }


def test_a_pattern_that_matches_the_words_of_the_protocol_leaves_them() -> None:
    values = Values(Scrubber([Rule("word", regex.compile("[a-z]+"), ours=False)]))
    told = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
    assert values.message(told, Counter()) == {"role": "user", "content": [{"type": "text", "text": "[word]"}]}


def test_what_is_nested_beyond_sense_is_withheld() -> None:
    deep: Any = MAIL
    for _ in range(200):
        deep = [deep]
    found: Counter[str] = Counter()
    assert MAIL not in str(VALUES.message(deep, found))
    assert found == {"redacted": 1}


@given(NESTED)
def test_redacting_twice_is_redacting_once(value: Any) -> None:
    once = message(value)
    assert message(once) == once
    text = VALUES.text(json.dumps(value), Counter())
    assert VALUES.text(text, Counter()) == text


@given(NESTED)
def test_no_address_and_no_card_is_left(value: Any) -> None:
    for left in (str(message(value)), VALUES.text(json.dumps(value), Counter())):
        assert MAIL not in left
        assert str(CARD) not in left

"""Nothing that a stranger wrote may move the cursor."""

import json

import pytest

from thumbwheel.commands.plain import dump, plain, plain_bytes, print_plain_json

NASTY = "\x1b]0;title\x07 \x9b31m \u202egnp \r\n \x7f \ud800 \U000e0041"


def test_control_and_hidden_characters_become_escapes() -> None:
    assert plain(NASTY).isprintable()
    assert plain(NASTY).startswith("\\u001b]0;title\\u0007 \\u009b31m \\u202egnp")
    assert plain("ganz normal, 日本語 [red]") == "ganz normal, 日本語 [red]"
    assert plain_bytes(b"fb-\xff\x1b") == "fb-\\xff\\u001b"


def test_json_is_indented_text_is_text_and_the_rest_is_hexadecimal() -> None:
    assert dump(b'{"a":[1]}') == ["{", '  "a": [', "    1", "  ]", "}"]
    assert dump(b"not\tjson\nat all") == ["not\\u0009json", "at all"]
    assert dump(b"\xffabc" + bytes(14)) == [
        "00000000  ff 61 62 63 00 00 00 00 00 00 00 00 00 00 00 00  .abc............",
        "00000010  00 00                                            ..",
    ]
    assert dump(b"") == [""]


@pytest.mark.parametrize(
    "value",
    [NASTY.encode("utf-8", "replace"), json.dumps({"a": NASTY}).encode(), '{"\x9b31m\u202e":1}'.encode(), b"[" * 9999],
)
def test_every_line_can_be_printed(value: bytes) -> None:
    assert all(line.isprintable() for line in dump(value))


def test_json_output_is_ascii_and_parses_to_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    meant = {"reason": "\x9b31m \x7f \u202e é", "key": b"\xff"}
    print_plain_json(meant)
    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable()
    assert said.isascii()
    assert json.loads(said) == {"reason": meant["reason"], "key": "/w=="}

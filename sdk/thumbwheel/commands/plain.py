"""What strangers wrote, printed so that it can only be read: no control character reaches the terminal."""

import json
import sys
from typing import Any

import msgspec

_ROW = 16


def plain(text: str) -> str:
    """One line of text, with escapes for whatever a terminal might obey or hide."""
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def plain_bytes(value: bytes) -> str:
    """The same for bytes that are text as a rule; `\\xff` stands for one that is none."""
    return plain(value.decode("utf-8", "backslashreplace"))


def dump(value: bytes) -> list[str]:
    """Lines that show any bytes: indented JSON when it is JSON, else the text, else hexadecimal."""
    try:
        text = msgspec.json.format(value, indent=2).decode() if value else ""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return [_hexadecimal(value, start) for start in range(0, len(value), _ROW)]
    return [plain(line) for line in text.split("\n")]


def print_plain_json(value: Any) -> None:
    """One indented JSON document in ASCII."""
    text = json.dumps(msgspec.to_builtins(value), indent=2).replace("\x7f", "\\u007f")
    sys.stdout.write(text + "\n")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _hexadecimal(value: bytes, start: int) -> str:
    row = value[start : start + _ROW]
    shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
    return f"{start:08x}  {row.hex(' '):{3 * _ROW}} {shown}"

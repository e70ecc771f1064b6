"""JSON values without personal data: every text in them, keys and tool calls' arguments included."""

from collections import Counter
from typing import Any, TypeVar, cast

import msgspec
import regex

from thumbwheel_service.redaction.scrubber import WITHHELD, Found, Scrubber

T = TypeVar("T")
_DEEPEST = 64
_CONTEXT_LENGTH = 200
"""Longer texts say by themselves what their numbers are."""
_WORDS: Any = regex.compile(r"(?<=\p{Ll})(?=\p{Lu})|[_\-.\s]+")
_DIGIT: Any = regex.compile(r"\d")
_PLAIN_WORD: Any = regex.compile(r"[a-z_]{1,32}")
_DATA_URL: Any = regex.compile(r"data:[\w/+.;=-]*;base64,[A-Za-z0-9+/=_-]*+")
_BASE64: Any = regex.compile(r"[A-Za-z0-9+/_-]{64,}+=*")
_IDS = frozenset({"id", "tool_call_id"})
_NAMED = frozenset({"role", "type"})
_FILES = frozenset({"data", "file_data", "url"})


class Values:
    """Walks JSON values; what holds nothing to redact comes back as the very same object."""

    def __init__(self, scrub: Scrubber) -> None:
        self._scrub = scrub

    def message(self, value: T, found: Found) -> T:
        """A message or a tool call: ids stay, and so do pictures and files within it."""
        return cast(T, self._value(value, found, _DEEPEST, speaks=True))

    def text(self, text: str, found: Found) -> str:
        """A text; one that is JSON, such as a tool call's arguments, is read as such and stays JSON."""
        return self._text(text, found, _DEEPEST)

    def pairs(self, pairs: dict[str, str], found: Found) -> dict[str, str]:
        """Keys and values; a conversation's id stays, as it is kept beside them anyway."""
        return cast("dict[str, str]", self._object(cast("dict[str, Any]", pairs), found, _DEEPEST, speaks=False))

    def _value(self, value: Any, found: Found, levels: int, *, speaks: bool) -> Any:
        if isinstance(value, str):
            return self._text(value, found, levels)
        if isinstance(value, int) and not isinstance(value, bool):
            text = str(value)
            scrubbed = self._scrub(text, found)
            return value if scrubbed == text else scrubbed
        if not isinstance(value, dict | list):
            return value
        if levels == 0:
            found["redacted"] += 1
            return WITHHELD
        if isinstance(value, list):
            items = cast("list[Any]", value)
            new = [self._value(item, found, levels - 1, speaks=speaks) for item in items]
            new = self._across(new, found) if speaks else new
            return items if all(a is b for a, b in zip(items, new, strict=True)) else new
        return self._object(cast("dict[str, Any]", value), found, levels - 1, speaks=speaks)

    def _object(self, pairs: dict[str, Any], found: Found, levels: int, *, speaks: bool) -> dict[str, Any]:
        new: dict[str, Any] = {}
        same = Counter[str]()
        changed = False
        for key, value in pairs.items():
            name = key if speaks and _PLAIN_WORD.fullmatch(key) else self._scrub(key, found)
            told = value
            if not _stays(key, value, speaks=speaks):
                told = self._value(value, found, levels, speaks=speaks)
                told = told if speaks else self._in_context(key, told, found)
            changed = changed or name is not key or told is not value
            unique = name
            while unique in new:  # two keys that became the same are told apart by a number
                same[name] += 1
                unique = f"{name} {same[name] + 1}"
            new[unique] = told
        return new if changed else pairs

    def _text(self, text: str, found: Found, levels: int) -> str:
        if levels and text.lstrip()[:1] in ("{", "["):
            try:
                read = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError):
                return self._scrub(text, found)
            new = self._value(read, found, levels - 1, speaks=False)
            return text if new is read else msgspec.json.encode(new).decode()
        return self._scrub(text, found)

    def _in_context(self, key: str, value: Any, found: Found) -> Any:
        """A short value once more behind its key: `{"order_id": "73036"}` reads as `order id: 73036`."""
        if isinstance(value, bool) or not isinstance(value, str | int):
            return value
        text = str(value)
        if len(text) > _CONTEXT_LENGTH or len(key) > _CONTEXT_LENGTH or _DIGIT.search(text) is None:
            return value
        told = self._behind(_WORDS.sub(" ", key) + ": ", text, found)
        if told is None:
            found["redacted"] += 1
            return WITHHELD
        return value if told == text else told

    def _across(self, parts: list[Any], found: Found) -> list[Any]:
        """Text parts once more, each behind the end of the one before: they are served joined by line ends."""
        told, before = list(parts), ""
        for at, part in enumerate(parts):
            text = cast("dict[str, Any]", part).get("text") if isinstance(part, dict) else None
            if not isinstance(text, str):
                continue
            new = self._behind(f"{before[-_CONTEXT_LENGTH:]}\n", text, found) if before else text
            if new is not None and new != text:
                told[at] = cast("dict[str, Any]", part) | {"text": new}
            before = new or text
        return parts if all(a is b for a, b in zip(parts, told, strict=True)) else told

    def _behind(self, label: str, text: str, found: Found) -> str | None:
        """The text as it is to be stored, read behind a label; None when what was found begins within the label."""
        seen = Counter[str]()
        scrubbed = self._scrub(label + text, seen)
        if scrubbed.endswith(text):
            return text
        if not scrubbed.startswith(label):
            return None
        found.update(seen)
        return scrubbed.removeprefix(label)


def _stays(key: str, value: Any, *, speaks: bool) -> bool:
    """Ids, plain roles and types, and the contents of files."""
    if not isinstance(value, str):
        return False
    if not speaks:
        return key == "conversation_id"
    if key in _FILES and (_DATA_URL.fullmatch(value) or (key != "url" and _BASE64.fullmatch(value))):
        return True
    return key in _IDS or (key in _NAMED and _PLAIN_WORD.fullmatch(value) is not None)

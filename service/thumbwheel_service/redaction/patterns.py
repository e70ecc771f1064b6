"""Patterns of one's own: a file of names and regular expressions, checked before anything is served."""

import json
import tomllib
from pathlib import Path
from typing import Any, cast

import regex

from thumbwheel.errors import ConfigurationError
from thumbwheel_service.redaction.rules import Rule

_SETTING = "THUMBWHEEL_REDACT_PATTERNS"
_NAME = regex.compile(r"[a-z][a-z0-9_-]{0,31}")
_PROBE_SECONDS = 0.5
_PROBE_LENGTH = 5_000
_PROBED = 40
"""Different characters of a pattern that are tried out, at most."""


class BadPattern(ConfigurationError):
    """The file of patterns does not read, or one of them cannot be used; the message names it."""


def load_patterns(path: Path) -> list[Rule]:
    """The rules of a JSON or TOML file, in its order; raises `BadPattern`."""
    return [_rule(path, name, pattern) for name, pattern in _table(path).items()]


def _table(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        read: Any = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise BadPattern(f"{_SETTING}={path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise BadPattern(f"{_SETTING}={path} is not {kind}: {error}") from error
    if not isinstance(read, dict):
        raise BadPattern(f"{_SETTING}={path} must be an object: names, and a regular expression for each")
    return cast("dict[str, Any]", read)


def _rule(path: Path, name: str, pattern: Any) -> Rule:
    where = f"{_SETTING}={path}: the pattern {name!r}"
    if _NAME.fullmatch(name) is None:
        raise BadPattern(f"{where} needs a name of up to 32 lower-case letters, digits, - and _")
    if not isinstance(pattern, str):
        raise BadPattern(f"{where} must be a regular expression in quotes")
    try:
        rule = Rule(name, regex.compile(pattern), ours=False)
    except regex.error as error:
        raise BadPattern(f"{where} is no regular expression: {error}") from error
    if rule.pattern.search("") is not None:
        raise BadPattern(f"{where} matches the empty text")
    _try_out(rule, pattern, where)
    return rule


def _try_out(rule: Rule, pattern: str, where: str) -> None:
    """Raise `BadPattern` when rows of one character, as the pattern speaks of them, take it beyond all measure.

    The pattern itself stands behind each row, because a text without the letters it asks for is refused at a glance.
    """
    for character in [*dict.fromkeys("a0 A" + pattern)][:_PROBED]:
        try:
            list(rule.spans(f"{character * _PROBE_LENGTH}\0{pattern}\0", _PROBE_SECONDS))
        except TimeoutError as error:
            raise BadPattern(
                f"{where} takes too long on a row of {character!r}; avoid repeating what repeats, as in (a+)+"
            ) from error

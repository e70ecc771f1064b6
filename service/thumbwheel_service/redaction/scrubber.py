"""A text without what the rules find, each find replaced by a placeholder that says its kind."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence

import regex

from thumbwheel_service.redaction.rules import Rule, Span

_log = logging.getLogger(__name__)
_SECONDS = 2.0
_SECONDS_PER_CHARACTER = 2e-6
_ROUNDS = 16
WITHHELD = "[redacted]"
"""Instead of what could not be looked through."""
Found = Counter[str]


class Scrubber:
    """Applies rules until they find nothing more, so that doing it again changes nothing."""

    def __init__(self, rules: Sequence[Rule], *, seconds: float = _SECONDS) -> None:
        """`seconds`, and a little per character, is what users' patterns get for one text."""
        self._rules = rules
        self._seconds = seconds
        known = {WITHHELD, *(placeholder(rule.kind) for rule in rules)}
        self._placeholders = regex.compile("|".join(map(regex.escape, sorted(known))))

    def __call__(self, text: str, found: Found) -> str:
        """The text as it may be stored; what was found is added to `found` by kind.

        Placeholders stay as they are, and each round leaves fewer characters outside them, so it comes to an end. What
        does not do so soon, or what a user's pattern cannot finish in time, is replaced whole: what is in it is not
        known.
        """
        deadline = time.monotonic() + self._seconds + _SECONDS_PER_CHARACTER * len(text)
        for _ in range(_ROUNDS):
            before = text
            for rule in self._rules:
                text = self._apply(rule, text, deadline, found)
            if text == before:
                return before
        _log.warning("a text of %d characters goes on to match what is redacted; it is withheld", len(text))
        found["redacted"] += 1
        return WITHHELD

    def _apply(self, rule: Rule, text: str, deadline: float, found: Found) -> str:
        replacement = placeholder(rule.kind)
        if text == replacement:
            return text
        try:
            spans = sorted(rule.spans(text, max(1e-3, deadline - time.monotonic())))
        except TimeoutError:
            _log.warning("the pattern %r takes too long; a text of %d characters is withheld", rule.kind, len(text))
            found[rule.kind] += 1
            return replacement
        if not spans:
            return text
        places = _outside(spans, [match.span() for match in self._placeholders.finditer(text)])
        found[rule.kind] += len(places)
        out, at = list[str](), 0
        for start, end in places:
            out += text[at:start], replacement
            at = end
        return "".join([*out, text[at:]])


def placeholder(kind: str) -> str:
    """What stands where something of this kind was."""
    return f"[{kind}]"


def _outside(spans: Iterable[Span], kept: Sequence[Span]) -> list[Span]:
    """The parts of `spans` that lie outside `kept`; both in order, the result without overlaps."""
    found, done, first = list[Span](), 0, 0
    for start, end in spans:
        at = max(start, done)
        while first < len(kept) and kept[first][1] <= at:
            first += 1
        for left, right in kept[first:]:
            if left >= end:
                break
            if at < left:
                found.append((at, left))
            at = max(at, right)
        if at < end:
            found.append((at, end))
        done = max(done, end)
    return found

"""One kind of personal data: a pattern, and what of its matches is meant."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import regex

Span = tuple[int, int]
Narrow = Callable[[str], Iterable[Span]]
GROUP = "pii"
"""Where a pattern has a group of this name, only the group is replaced."""

_FOREIGN_DIGIT: Any = regex.compile(r"(?![0-9])\d")


def whole(candidate: str) -> Iterable[Span]:
    """All of what matched."""
    return [(0, len(candidate))]


@dataclass(frozen=True)
class Rule:
    """Finds one kind of personal data in a text."""

    kind: str
    pattern: Any
    """Compiled by `regex`, which has no types; it lets other threads run meanwhile, and can be given a time limit."""
    narrow: Narrow = whole
    """Parts of a match that are meant, as spans within it."""
    hint: Any = None
    """A cheap pattern without which there is no match."""
    ours: bool = True
    """Ours take time in proportion to the text and need no limit; they read the digits of any script as 0 to 9."""

    def spans(self, text: str, seconds: float) -> Iterator[Span]:
        """Places to replace; raises `TimeoutError` when a user's pattern takes `seconds`."""
        if self.ours and not text.isascii():
            text = _FOREIGN_DIGIT.sub(_as_ascii, text)
        if self.hint is not None and self.hint.search(text) is None:
            return
        limit = None if self.ours else seconds
        for match in self.pattern.finditer(text, concurrent=True, timeout=limit):
            for start, end in match.spans(GROUP) if GROUP in self.pattern.groupindex else [match.span()]:
                yield from ((start + a, start + b) for a, b in self.narrow(text[start:end]) if a < b)


def _as_ascii(digit: Any) -> str:
    return str(int(digit[0]))


def compiled(pattern: str) -> Any:
    """A pattern over several lines, with comments; raises `regex.error`."""
    return regex.compile(pattern, regex.VERBOSE)

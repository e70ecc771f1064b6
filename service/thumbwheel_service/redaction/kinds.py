"""The kinds of personal data that are known without patterns of one's own.

Whatever repeats in these patterns is bounded or possessive, so that no text makes them slow.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate

from thumbwheel_service.redaction.rules import Rule, Span, compiled, whole

_GAP = r"[\p{Zs}\t\p{Pd}\p{Cf}−]"
"""Blanks, dashes, and the invisible marks that come along when a number is copied."""
_DIGIT = compiled(r"\d")
_AT = compiled(r"[@＠]|%40")

_EMAIL = compiled(r"""
    (?<![\w.+~'-]) ['.+~-]*+
    (?P<pii> \w[\w.+~'-]*+ (?:[@＠]|%40) [\w-]++ (?:\.[\w-]++)++ )
""")
_DOMAIN_END = compiled(r"\.(?:\p{L}[\p{L}-]+|xn--[\w-]+)$")

_CARD = compiled(rf"(?<!\d)(?<!\d\.) \d (?:{_GAP}{{0,2}}+\d){{12,}}+")
_DIGITS = compiled(r"\d+")
_ISSUER = compiled(r"3[04-9]|[456]|2[2-7]|8[12]")
_CARD_LENGTHS = range(13, 20)

_CODE = (
    r"(?P<pii> (?:\p{L}{1,8}[\p{Pd}_/]?)? \d[\p{L}\d]*+ (?:[\p{Pd}_/](?:\d[\p{L}\d]*+|\p{L}{1,3}\d*+(?![\p{L}\d])))*+ )"
)
_LABEL = r"(?:with|the|has|confirmation|reference|ref|number|num|nr|no|id|code|is|was)(?!\p{L})\.?"
_ORDER = compiled(rf"""
    (?i) (?: (?<![\p{{L}}\[]) order (?:['’]?s)? (?!\p{{L}})
             (?:[\s\p{{Pd}}_,:(]{{1,4}}{_LABEL}){{0,4}} [\s\p{{Pd}}_:=,.("'\#№]{{0,6}}
           | (?<![\w&\#/]) [\#№] \s? )
    {_CODE} (?: \s{{0,3}}(?:[,;&]|and(?!\p{{L}})|or(?!\p{{L}}))\s{{0,3}} [\#№]?\s? {_CODE} ){{0,20}}
""")
_POINT = r"[./\p{Pd}]"
_DATE = rf"""
    (?: \d{{1,2}}{_POINT}\d{{1,2}}{_POINT}(?:\d{{4}}|\d{{2}}) | \d{{4}}{_POINT}\d{{1,2}}{_POINT}\d{{1,2}} )
    (?!{_POINT}?\d)
"""
_DATE_ONLY = compiled(rf"^{_DATE}$")

_BETWEEN = r"[\p{Zs}\t\p{Pd}\p{Cf}−./()]"
_REST = rf"(?:{_BETWEEN}{{0,3}}+\d)"
_TIME = r"[0-2]\d\.[0-5]\d (?:\s?\p{Pd}\s?[0-2]?\d\.[0-5]\d)? (?![.\d])"
_CALLED = r"(?:tele|cell|mobile[ ])?phone|tel|mobile|cell|fax|whatsapp|sms|call|ring|dial|text|telefon|handy"
_ASIDE = r"[^\w+＋(]"
_FILLER = r"(?:me|us|him|her|them|back|at|on|under|number|no|nr|is|my|via)"
_START = r"(?<!\w) (?<!(?<!\d)\d{1,4}[./:\p{Pd}])"
_PHONE = compiled(rf"""
    (?: (?<![\w+]) (?P<pii> (?:[+＋]|00)[\p{{Zs}}\p{{Cf}}]{{0,2}} \(?[1-9] {_REST}{{6,13}} )
      | {_START} (?!{_DATE}) (?!{_TIME})
        (?P<pii> \(?0[1-9] (?: {_REST}{{7,11}} | (?=\d*{_BETWEEN}){_REST}{{6}} ) )
      | {_START}
        (?P<pii> (?:1{_BETWEEN})? \(?[2-9]\d\d{_BETWEEN}{{1,2}}[2-9]\d\d{_BETWEEN}\d{{4}} )
      | (?i:(?<![\p{{L}}\[])(?:{_CALLED})) (?!\p{{L}}) {_ASIDE}{{0,3}} (?:{_FILLER}(?!\p{{L}}){_ASIDE}{{1,3}}){{0,4}}
        (?!{_DATE}) (?P<pii> [+＋]?\(?\d {_REST}{{6,14}} )
    ) (?!\d)
""")


def built_in(kinds: Iterable[str]) -> list[Rule]:
    """The rules of these kinds, in the order in which they are to be applied."""
    wanted = frozenset(kinds)
    return [rule for rule in _RULES if rule.kind in wanted]


def _mail(candidate: str) -> Iterable[Span]:
    """An address ends with a domain of letters: `package@1.2.3` is none."""
    return whole(candidate) if _DOMAIN_END.search(candidate) else []


def _cards(candidate: str) -> Iterator[Span]:
    """Groups of digits that together pass for a card number; what stands around them (expiry, check digits) stays."""
    groups = [match.span() for match in _DIGITS.finditer(candidate)]
    ends = list(accumulate(end - start for start, end in groups))
    digits = "".join(candidate[start:end] for start, end in groups)
    luhn = _Luhn(digits)
    at = 0
    while at < len(groups):
        first = ends[at - 1] if at else 0
        length = 0
        if _ISSUER.match(digits, first):
            lengths = [end - first for end in ends[at : at + _CARD_LENGTHS.stop] if end - first in _CARD_LENGTHS]
            length = max((n for n in lengths if luhn.holds(first, first + n)), default=0)
        last = bisect_left(ends, first + length, at) if length else at
        if length:
            yield groups[at][0], groups[last][1]
        at = last + 1


class _Luhn:
    """The check of ISO/IEC 7812 on any part of a long row of digits, in constant time."""

    def __init__(self, digits: str) -> None:
        plain = [int(digit) for digit in digits]
        doubled = [sum(divmod(2 * digit, 10)) for digit in plain]
        mixed = (
            [d if i % 2 else p for i, (p, d) in enumerate(zip(plain, doubled, strict=True))],
            [p if i % 2 else d for i, (p, d) in enumerate(zip(plain, doubled, strict=True))],
        )
        self._sums = [list(accumulate(values, initial=0)) for values in mixed]

    def holds(self, first: int, end: int) -> bool:
        """Whether the digits before `end`, from `first` on, pass; the last of them is never doubled."""
        sums = self._sums[(end - 1) % 2]
        return (sums[end] - sums[first]) % 10 == 0


def _order_code(candidate: str) -> Iterable[Span]:
    """Four digits, or three beside letters; no date."""
    digits = sum(character.isdigit() for character in candidate)
    enough = 3 if any(character.isalpha() for character in candidate) else 4
    return whole(candidate) if digits >= enough and not _DATE_ONLY.search(candidate) else []


_RULES = (
    Rule("email", _EMAIL, _mail, _AT),
    Rule("card", _CARD, _cards, _DIGIT),
    Rule("order", _ORDER, _order_code, _DIGIT),
    Rule("phone", _PHONE, whole, _DIGIT),
)

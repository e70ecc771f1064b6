"""Rules are applied until nothing more is found; placeholders stay; what takes too long is withheld."""

import logging
from collections import Counter

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from thumbwheel_service.redaction.rules import Rule
from thumbwheel_service.redaction.scrubber import Scrubber


def own(**patterns: str) -> Scrubber:
    return Scrubber([Rule(name, regex.compile(pattern), ours=False) for name, pattern in patterns.items()])


def test_a_match_is_replaced_and_counted_by_kind() -> None:
    found: Counter[str] = Counter()
    assert own(customer=r"K-\d+", word="secret")("K-1 and K-22: secret", found) == "[customer] and [customer]: [word]"
    assert found == {"customer": 2, "word": 1}


def test_a_group_named_pii_is_all_that_goes() -> None:
    assert own(ticket=r"ticket (?P<pii>\d+)")("ticket 12", Counter()) == "ticket [ticket]"


def test_a_placeholder_is_never_redacted_itself() -> None:
    scrub = own(email="[a-z]+", x="x")
    assert scrub("[email] [x] hello", Counter()) == "[email] [x] [email]"


def test_what_a_match_covers_beside_a_placeholder_goes_too() -> None:
    assert own(mail=r"\S+@\S+", line="secret.*")("secret a@b code 12", Counter()) == "[line][mail][line]"


def test_earlier_rules_come_first() -> None:
    assert own(first=r"\d+", second=r"\d{3}")("123", Counter()) == "[first]"


PATTERNS = st.lists(
    st.sampled_from([r"\d+", "x", "[a-c]", r"^\S", r"\w$", r"(?<=\])\w", r"\w(?=\[)", "ab|b", r".*z", "email", r"\[e"]),
    min_size=1,
    max_size=4,
    unique=True,
)


@given(PATTERNS, st.text("abcxyz012 []\n", max_size=30))
def test_whatever_the_patterns_it_comes_to_an_end_that_stays(patterns: list[str], text: str) -> None:
    scrub = own(**{f"kind{i}": pattern for i, pattern in enumerate(patterns)})
    once = scrub(text, Counter())
    assert scrub(once, Counter()) == once


def test_a_text_that_matches_on_and_on_is_withheld_whole() -> None:
    found: Counter[str] = Counter()
    assert own(first="^x", next=r"(?<=\])x")("x" * 100, found) == "[redacted]"
    assert found["redacted"] == 1


def test_a_text_that_takes_too_long_is_withheld_whole_and_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    slow = Rule("slow", regex.compile(r"(\w+\s?)*[:;]$"), ours=False)
    text = "hello; " + "my mail is ann at example " * 400 + "!"
    found: Counter[str] = Counter()
    with caplog.at_level(logging.DEBUG):
        assert Scrubber([slow], seconds=0.02)(text, found) == "[slow]"
    assert found == {"slow": 1}
    assert "'slow'" in caplog.text
    assert "ann" not in caplog.text

"""What each kind finds, and what it leaves alone."""

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbwheel_service.redaction import KINDS
from thumbwheel_service.redaction.kinds import built_in
from thumbwheel_service.redaction.scrubber import Scrubber

ALL = Scrubber(built_in(KINDS))
CARDS = ("4111111111111111", "5555 5555 5555 4444", "3782-822463-10005", "6011 0009 9013 9424", "2223003122003222")
WORDS = st.lists(st.text("abcdefghijklmnopqrstuvwxyzäöüß ,;!?", max_size=12), max_size=8).map(" ".join)
PIECES = st.sampled_from(
    ["ann@example.com", *CARDS, "order 73036", "#73036", "AB-12345", "+49 151 2345678", "030 1234567", "0", "12",
     "4111", "call me at 5551234567", "[email]", "[order]", "[", "]", "@", "example.com", "order", "order number:",
     "and", ",", "2024-05-01", "01.05.2024", "tel", "+", "00", "\u200b", "\n", "٤١١١", "phone", "-", "/", "(0)"]
)  # fmt: skip


def scrub(text: str) -> str:
    return ALL(text, Counter())


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Write to ann@example.com.", "Write to [email]."),
        ("o'brien+shop@mail.example.co.uk, <bob@y.de>", "[email], <[email]>"),
        ("müller@straße.example and 用户@例子.测试", "[email] and [email]"),
        ("ann＠example.com", "[email]"),
        ("https://example.com/?mail=ann%40example.com", "https://example.com/?mail=[email]"),
    ],
)
def test_mail_addresses(text: str, left: str) -> None:
    assert scrub(text) == left


@pytest.mark.parametrize("text", ["user@localhost", "lodash@4.17.21", "@ann", "a @ b.c", "ann at example dot com"])
def test_what_is_no_mail_address_stays(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize(
    "number", [*CARDS, "4111\u00a01111\u20111111\u20111111", "４１１１ １１１１ １１１１ １１１１"]
)
def test_card_numbers_by_their_check_digit_whatever_stands_around_them(number: str) -> None:
    for before, after in (("", ""), ("visa:", " 12/26"), ("card", " 123."), ("2024 ", "\n")):
        assert scrub(f"{before}{number}{after}") == f"{before}[card]{after}"


def test_a_wrong_check_digit_is_no_card() -> None:
    assert scrub("4111 1111 1111 1112") == "4111 1111 1111 1112"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Where is order 73036?", "Where is order [order]?"),
        ("#73036, # 1042", "#[order], # [order]"),
        ("order number: AB-12345", "order number: [order]"),
        ("Order no. 112-1234567-1234567", "Order no. [order]"),
        ("my order's number is ABC123X", "my order's number is [order]"),
        ("orders 73036, #73037 and 73038.", "orders [order], #[order] and [order]."),
        ("order_id=73036", "order_id=[order]"),
        ("Order 0301234567", "Order [order]"),
        ("Order #73036: call +49 151 2345678", "Order #[order]: call [phone]"),
    ],
)
def test_order_numbers_lose_the_number_alone(text: str, left: str) -> None:
    assert scrub(text) == left


@pytest.mark.parametrize(
    "number",
    ["+49 151 23456789", "+49 (0) 30 1234567", "+1-212-555-0123", "0049 30 1234567", "030 1234567", "030/1234567",
     "(030) 1234567", "0151-23456789", "015123456789", "020 7946 0958", "01 23 45 67 89", "01.23.45.67.89",
     "(212) 555-0123", "212-555-0123", "1-800-555-0123", "\u202a+49 151 23456789\u202c", "٠٣٠ ١٢٣٤٥٦٧"],
)  # fmt: skip
def test_telephone_numbers(number: str) -> None:
    assert scrub(f"reach me: {number}, please") == scrub("reach me: ") + scrub(number) + ", please"
    assert scrub(number).strip("\u202a\u202c") == "[phone]"


@pytest.mark.parametrize("text", ["call me at {}", "phone: {}", "my mobile number is {}", "Tel.: {}", "WhatsApp {}"])
def test_bare_digits_are_a_telephone_number_where_the_words_say_so(text: str) -> None:
    assert scrub(text.format("5551234567")) == text.format("[phone]")


@pytest.mark.parametrize(
    "text",
    [
        "In 2024 we sold 73036 units for 1,234,567 euros.",
        "from 2024-05-01 to 01.05.2024, 01/05/2024 10 o'clock, 1999-12-31 23:59",
        "open 08.30-17.00 and 08.30 - 17.00, call us on 2024-05-01",
        "order 2 pizzas, order 100, I ordered 73036 in order to 12345",
        "order 2024-05-01 was late",
        "1700000000000, 3.14159265358979, 192.168.100.200, 1.2.3.4.5.6.7.8, &#8217;",
        "ISBN 978-3-16-148410-0, invoice 20241234, 40 x 60 x 80 cm, 12 345 678 people",
        "",
    ],
)
def test_years_dates_amounts_and_versions_stay(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("4111111111111111,5555555555554444", "[card],[card]"),
        ("0301234567,0307654321;0301234567/0307654321", "[phone],[phone];[phone]/[phone]"),
        ("030 1234567 / 0151 23456789", "[phone] / [phone]"),
        ("+49 30 1234567 +49 30 7654321", "[phone] [phone]"),
        ("030 1234567 89012345", "[phone] 89012345"),
        ("ann@example.com,bob@example.com", "[email],[email]"),
    ],
)
def test_lists(text: str, left: str) -> None:
    assert scrub(text) == left


def test_each_kind_is_asked_for_by_itself() -> None:
    text = "ann@example.com 4111111111111111 order 73036 030 1234567"
    left = {kind: Scrubber(built_in([kind]))(text, Counter()) for kind in KINDS}
    assert left["email"] == text.replace("ann@example.com", "[email]")
    assert left["card"] == text.replace("4111111111111111", "[card]")
    assert left["order"] == text.replace("73036", "[order]")
    assert left["phone"] == text.replace("030 1234567", "[phone]")


@given(WORDS)
def test_a_text_without_digits_and_addresses_is_unchanged(text: str) -> None:
    assert scrub(text) is text


@given(st.lists(PIECES | st.text(max_size=6), max_size=8), st.sampled_from(["", " "]))
def test_redacting_twice_is_redacting_once(pieces: list[str], between: str) -> None:
    once = scrub(between.join(pieces))
    found: Counter[str] = Counter()
    assert ALL(once, found) == once
    assert not found


@given(WORDS, st.sampled_from(["ann@example.com", *CARDS, "+49 151 23456789"]), WORDS)
def test_wherever_it_stands_it_is_found(before: str, secret: str, after: str) -> None:
    assert secret not in scrub(f"{before} {secret} {after}")


@pytest.mark.parametrize(
    "unit", ["a", "1", "0", "1 ", "a@", "a.b-", "+49 ", "order ", "order 1, ", "012-", "#", "4111 "]
)
def test_time_grows_with_the_text_and_no_faster(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        return min(_timed(text) for _ in range(3))

    short, long = seconds(2_000), seconds(16_000)
    assert long < 0.05 + 24 * short


def _timed(text: str) -> float:
    begun = time.process_time()
    scrub(text)
    return time.process_time() - begun

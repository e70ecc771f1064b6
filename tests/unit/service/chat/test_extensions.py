"""What callers may add to a chat body, and what becomes of it."""

from typing import Any

import pytest

from thumbwheel.types import CONVERSATION_HEADER
from thumbwheel_service.chat.extensions import BadExtension, take


def test_our_fields_are_taken_out_and_the_engines_stay() -> None:
    body: dict[str, Any] = {
        "model": "m",
        "messages": [],
        "user": "ann",
        "metadata": {"a": "b"},
        "store": False,
        "thumbwheel": {"conversation_id": "c"},
    }
    asked = take(body, {})
    assert (asked.model, asked.user, asked.store, asked.metadata) == ("m", "ann", False, {"a": "b"})
    assert body == {"model": "m", "messages": [], "user": "ann"}


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        pytest.param(
            {"thumbwheel": {"conversation_id": "ours"}, "metadata": {"conversation_id": "meta"}},
            {CONVERSATION_HEADER: "header"},
            "ours",
            id="our own key wins",
        ),
        pytest.param({"metadata": {"conversation_id": "meta"}}, {CONVERSATION_HEADER: "header"}, "meta", id="metadata"),
        pytest.param({}, {CONVERSATION_HEADER: "header"}, "header", id="header"),
    ],
)
def test_where_the_conversation_id_is_looked_for(body: dict[str, Any], headers: dict[str, str], expected: str) -> None:
    assert take(body, headers).conversation_id == expected


def test_without_one_every_chat_is_a_conversation_of_its_own() -> None:
    assert take({}, {}).conversation_id != take({}, {}).conversation_id


@pytest.mark.parametrize(
    ("body", "headers", "field"),
    [
        pytest.param({"metadata": {str(i): "x" for i in range(17)}}, {}, "metadata", id="17 pairs"),
        pytest.param({"metadata": {"k" * 65: "x"}}, {}, "metadata", id="long key"),
        pytest.param({"metadata": {"k": "v" * 513}}, {}, "metadata", id="long value"),
        pytest.param({"metadata": {"k": 1}}, {}, "metadata", id="value that is no string"),
        pytest.param({"metadata": False}, {}, "metadata", id="false is no metadata"),
        pytest.param({"metadata": []}, {}, "metadata", id="an empty list is no metadata"),
        pytest.param({"thumbwheel": 0}, {}, "thumbwheel", id="zero is no extension"),
        pytest.param({"metadata": {"conversation_id": "no spaces"}}, {}, "metadata.conversation_id", id="bad id"),
        pytest.param({}, {CONVERSATION_HEADER: "-x"}, CONVERSATION_HEADER, id="bad id in the header"),
        pytest.param({"store": "no"}, {}, "store", id="store is no boolean"),
        pytest.param({"user": "u" * 513}, {}, "user", id="long user"),
        pytest.param({"user": "a\0b"}, {}, "user", id="NUL in user"),
        pytest.param({"user": 7}, {}, "user", id="user is no string"),
        pytest.param({"model": 7}, {}, "model", id="model is no string"),
        pytest.param({"thumbwheel": {"conversation": "c"}}, {}, "thumbwheel", id="unknown field of ours"),
    ],
)
def test_what_is_refused_names_its_field(body: dict[str, Any], headers: dict[str, str], field: str) -> None:
    with pytest.raises(BadExtension) as caught:
        take(body, headers)
    assert caught.value.field == field

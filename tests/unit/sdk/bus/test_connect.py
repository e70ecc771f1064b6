"""One setting chooses the bus; what is wrong with the others is said before anything is contacted."""

import sys
from typing import Any

import pytest

from thumbwheel.bus.connect import connect_bus
from thumbwheel.bus.embedded import EmbeddedBus
from thumbwheel.bus.kafka import KafkaBus
from thumbwheel.bus.kafka_driver import Driver
from thumbwheel.errors import ConfigurationError


def test_the_kind_chooses() -> None:
    with connect_bus("embedded", url="http://service", api_key="k") as embedded:
        assert isinstance(embedded, EmbeddedBus)
    with connect_bus("kafka", bootstrap="127.0.0.1:9", kafka_options={"topic_prefix": "desk."}) as kafka:
        assert isinstance(kafka, KafkaBus)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("embedded", {"url": "http://service"}, "admin key"),
        ("embedded", {"api_key": "k"}, "URL"),
        ("kafka", {}, "bootstrap"),
        ("kafka", {"bootstrap": " , "}, "bootstrap"),
        ("kafka", {"bootstrap": "k:1", "kafka_options": {"acks": 1}}, "not open to configuration: acks"),
        ("kafka", {"bootstrap": "k:1", "kafka_options": {"colour": "red"}}, "no such setting of kafka-python: colour"),
        ("kafka", {"bootstrap": "k:1", "kafka_options": {"linger_ms": "soon"}}, "linger_ms: cannot read 'soon'"),
        ("rabbit", {}, "embedded or kafka"),
    ],
)
def test_what_is_missing_or_wrong_is_named(kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        connect_bus(kind, **given)


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("thumbwheel.bus.kafka")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kafka", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'thumbwheel\[kafka\]'"):
        connect_bus("kafka", bootstrap="127.0.0.1:9")


def test_options_from_an_environment_are_read_as_the_kind_of_their_default() -> None:
    driver = Driver(
        "a:1, b:2",
        "me",
        {
            "linger_ms": "5",
            "ssl_check_hostname": "false",
            "api_version": "2.3",
            "security_protocol": "SASL_SSL",
            "sasl_plain_password": "123",
            "max_block_ms": 7,
        },
    )
    assert driver.bootstrap == ["a:1", "b:2"]
    assert driver.options["linger_ms"] == 5
    assert driver.options["ssl_check_hostname"] is False
    assert driver.options["api_version"] == (2, 3)
    assert driver.options["sasl_plain_password"] == "123"
    assert driver.options["max_block_ms"] == 7
    assert driver.options["client_id"] == "me"

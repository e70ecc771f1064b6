"""Settings are read from the environment; what is wrong is named, with how to mend it."""

from pathlib import Path

import pytest

from thumbwheel_service.redaction import FIELDS, KINDS
from thumbwheel_service.settings import BadSetting, from_environment


def read(**given: str) -> object:
    return from_environment({f"THUMBWHEEL_{name}": value for name, value in given.items()})


def test_nothing_set_is_a_local_service_below_one_folder() -> None:
    settings = from_environment({})
    assert settings.data == Path(".thumbwheel").absolute()
    assert settings.database_url == f"sqlite:///{settings.data}/service.db"
    assert settings.artifacts == settings.data / "artifacts"
    assert settings.signing_key_file == settings.data / "signing.key"
    assert (settings.host, settings.port, settings.bus) == ("127.0.0.1", 8000, "embedded")
    assert settings.is_loopback


def test_everything_can_be_set(tmp_path: Path) -> None:
    settings = from_environment(
        {
            "THUMBWHEEL_DATA": str(tmp_path),
            "THUMBWHEEL_DATABASE_URL": "postgresql://db/thumbwheel",
            "THUMBWHEEL_HOST": "0.0.0.0",
            "THUMBWHEEL_PORT": "0",
            "THUMBWHEEL_MODEL": "some/model",
            "THUMBWHEEL_MODEL_ALIAS": "desk",
            "THUMBWHEEL_KAFKA_BOOTSTRAP": "k:9092",
            "THUMBWHEEL_KAFKA_SECURITY_PROTOCOL": "SSL",
            "THUMBWHEEL_ENGINE_DTYPE": "float32",
            "THUMBWHEEL_PROMOTE": "manual",
            "THUMBWHEEL_MAX_BODY_BYTES": "1000",
            "THUMBWHEEL_DRAIN_SECONDS": "1.5",
            "OTHER": "x",
        }
    )
    assert (settings.bus, settings.kafka_bootstrap) == ("kafka", "k:9092")
    assert settings.kafka_options == {"security_protocol": "SSL"}
    assert settings.engine_options == {"dtype": "float32"}
    assert (settings.limits.body_bytes, settings.limits.drain_seconds) == (1000, 1.5)
    assert (settings.promote, settings.model_alias, settings.model) == ("manual", "desk", "some/model")
    assert not settings.is_loopback


@pytest.mark.parametrize(
    ("given", "days"),
    [
        ({}, 0.0),
        ({"THUMBWHEEL_KAFKA_BOOTSTRAP": "k:9092"}, 7.0),
        ({"THUMBWHEEL_LOG_KEEP_DAYS": "30"}, 30.0),
        ({"THUMBWHEEL_KAFKA_BOOTSTRAP": "k:9092", "THUMBWHEEL_LOG_KEEP_DAYS": "0"}, 0.0),
    ],
)
def test_the_log_is_kept_for_ever_where_it_is_the_only_copy(given: dict[str, str], days: float) -> None:
    assert from_environment(given).keep_days == days


@pytest.mark.parametrize(
    ("given", "kinds", "fields"),
    [
        ({}, (), FIELDS),
        ({"REDACT": "Phone, email"}, ("email", "phone"), FIELDS),
        ({"REDACT": "all", "REDACT_FIELDS": "metadata,feedback"}, KINDS, ("feedback", "metadata")),
    ],
)
def test_nothing_is_redacted_unless_asked_for(given: dict[str, str], kinds: object, fields: object) -> None:
    settings = from_environment({f"THUMBWHEEL_{name}": value for name, value in given.items()})
    assert (settings.redact, settings.redact_fields, settings.redact_patterns) == (kinds, fields, None)
    path = {"THUMBWHEEL_REDACT_PATTERNS": "~/own.toml"}
    assert from_environment(path).redact_patterns == Path.home() / "own.toml"


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert from_environment({"THUMBWHEEL_PORT": "", "THUMBWHEEL_MODEL": ""}) == from_environment({})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PORT", "eighty", "THUMBWHEEL_PORT must be a number"),
        ("PORT", "70000", "between 0 and 65535"),
        ("BUS", "rabbit", "THUMBWHEEL_BUS must be embedded or kafka"),
        ("BUS", "kafka", "THUMBWHEEL_KAFKA_BOOTSTRAP"),
        ("DATABASE_URL", "mysql://x", "sqlite:/// or postgresql://"),
        ("DATABASE_URL", "sqlite:///:memory:", "must name a file"),
        ("PROMOTE", "never", "auto or manual"),
        ("MAX_CHATS", "0", "must be positive"),
        ("DRAIN_SECONDS", "nan", "must be positive"),
        ("DRAIN_SECONDS", "inf", "must be positive"),
        ("LOG_KEEP_DAYS", "-1", "for ever"),
        ("LOG_KEEP_DAYS", "inf", "for ever"),
        ("LOG_KEEP_DAYS", "nan", "for ever"),
        ("MODEL_ALIAS", "a/b", "without a slash"),
        ("REPLICA", "a/b", "without a slash"),
        ("DATA", __file__, "is a file"),
        ("REDACT", "email,iban", "takes email, card, order, phone or all, comma-separated, not 'iban'"),
        ("REDACT_FIELDS", "prompts", "THUMBWHEEL_REDACT_FIELDS takes messages, answers, feedback, metadata or all"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        read(**{name: value})


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("box.example", False),
    ],
)
def test_only_loopback_addresses_are_private(host: str, loopback: bool) -> None:
    assert from_environment({"THUMBWHEEL_HOST": host}).is_loopback is loopback

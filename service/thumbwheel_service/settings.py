"""Every setting of the service, read once from the environment; only the composition root looks at it."""

import ipaddress
import math
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, cast

from thumbwheel.errors import ConfigurationError
from thumbwheel_service.redaction import FIELDS, KINDS

PREFIX = "THUMBWHEEL_"
N = TypeVar("N", int, float)


class BadSetting(ConfigurationError):
    """A setting is missing or wrong; the message names the variable and says how to mend it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a caller may send and how much may wait, before the service says no."""

    body_bytes: int = 1 << 20
    """`THUMBWHEEL_MAX_BODY_BYTES`: largest body of a feedback, a batch or a turn."""
    chat_body_bytes: int = 4 << 20
    """`THUMBWHEEL_MAX_CHAT_BODY_BYTES`: largest body of a chat (long histories, pictures)."""
    internal_body_bytes: int = 64 << 20
    """`THUMBWHEEL_MAX_INTERNAL_BODY_BYTES`: largest body of the learner's requests."""
    chats_in_flight: int = 256
    """`THUMBWHEEL_MAX_CHATS`: chats generated at once; more are answered 429."""
    writes_waiting: int = 4096
    """`THUMBWHEEL_MAX_WRITES`: units that may wait for the writer; more are answered 429."""
    chats_per_minute: int = 0
    """`THUMBWHEEL_MAX_CHATS_PER_MINUTE`: requests per key and service process on the chat routes; 0: no limit."""
    calls_per_minute: int = 0
    """`THUMBWHEEL_MAX_CALLS_PER_MINUTE`: the same on feedback, turns and status."""
    drain_seconds: float = 30.0
    """`THUMBWHEEL_DRAIN_SECONDS`: how long a stopping service waits for chats to end."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The service's settings; each is the environment variable `THUMBWHEEL_<NAME>`, with the default given here."""

    data: Path = Path(".thumbwheel")
    """`DATA`: folder of the state: database, keys, artifacts."""
    database_url: str = ""
    """`DATABASE_URL`: `sqlite:///…` or `postgresql://…`; default a SQLite file in `DATA`."""
    keys_database_url: str = ""
    """`KEYS_DATABASE_URL`: where the keys lie that seal people's words; default `keys.db` beside a SQLite
    database, or the schema `thumbwheel_keys` of a PostgreSQL `DATABASE_URL`. Back it up apart from the rest; see
    [privacy](privacy.md)."""
    erasure_days: float = 7.0
    """`ERASURE_DAYS`: the deadline that the receipt of an erasure names; later than that is an alarm."""
    retention_days: float = 0.0
    """`RETENTION_DAYS`: turns and feedback older than that are removed, and every copy of them becomes unreadable;
    0: they stay."""
    host: str = "127.0.0.1"
    """`HOST`: address to listen on; anything but loopback needs a chat key."""
    port: int = 8000
    """`PORT`."""
    model: str | None = None
    """`MODEL`: local path or hub id of a causal language model; default the demo policy."""
    model_alias: str = "thumbwheel"
    """`MODEL_ALIAS`: the public name of the live policy."""
    engine_options: Mapping[str, str] = field(default_factory=dict[str, str])
    """`ENGINE_<OPTION>`: any option of `engine.options.EngineOptions` in upper case, e.g. `ENGINE_DTYPE=float32`."""
    bus: Literal["embedded", "kafka"] = "embedded"
    """`BUS`: `kafka` relays the log to a broker; default `kafka` when `KAFKA_BOOTSTRAP` is set, else `embedded`."""
    kafka_bootstrap: str | None = None
    """`KAFKA_BOOTSTRAP`: `host:port`, comma-separated."""
    kafka_options: Mapping[str, str] = field(default_factory=dict[str, str])
    """`KAFKA_<OPTION>`: any other option of kafka-python in upper case, e.g. `KAFKA_SECURITY_PROTOCOL`."""
    artifacts: Path = Path()
    """`ARTIFACTS`: the artifact store; default `DATA/artifacts`."""
    signing_key_file: Path = Path()
    """`SIGNING_KEY`: file of the key that signs manifests; default `DATA/signing.key`, made at the first start."""
    promote: Literal["auto", "manual"] = "auto"
    """`PROMOTE`: `manual` moves the route only when a person says so."""
    replica: str = ""
    """`REPLICA`: stable name of this replica, by which it finds the turns it left open; default the host's name."""
    lease_seconds: float = 20.0
    """`LEASE_SECONDS`: so long after a process died, another one carries on to Kafka what it had in hand; after three
    times as long, the chats that it left open are lost and feedback on them goes to the learner."""
    log_keep_days: float | None = None
    """`LOG_KEEP_DAYS`: rows of the log are removed this long after they were written, once the learner has stored them
    (and Kafka has them); 0: never. Default 7 with Kafka, whose topics keep everything, else 0: the log is then the only
    copy that the learner's store can be rebuilt from."""
    learner_silent_seconds: float = 120.0
    """`LEARNER_SILENT_SECONDS`: after that long without a report the status shows the learner as stopped."""
    redact: tuple[str, ...] = ()
    """`REDACT`: what is taken out before anything is stored: of `email,phone,card,order`, or `all`; see
    [privacy](privacy.md)."""
    redact_patterns: Path | None = None
    """`REDACT_PATTERNS`: JSON or TOML file of further patterns, a name and a regular expression each."""
    redact_fields: tuple[str, ...] = ()
    """`REDACT_FIELDS`: only in these of `messages,answers,feedback,metadata`; default all of them."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        fill = object.__setattr__
        fill(self, "data", self.data.absolute())
        if not self.database_url:
            fill(self, "database_url", f"sqlite:///{self.data / 'service.db'}")
        if not self.keys_database_url:
            fill(self, "keys_database_url", _beside(self.database_url))
        if self.artifacts == Path():
            fill(self, "artifacts", self.data / "artifacts")
        if self.signing_key_file == Path():
            fill(self, "signing_key_file", self.data / "signing.key")
        if self.log_keep_days is None:
            fill(self, "log_keep_days", 7.0 if self.bus == "kafka" else 0.0)
        if not self.redact_fields:
            fill(self, "redact_fields", FIELDS)
        if not self.replica:
            fill(self, "replica", socket.gethostname())
        self._validate()

    def _validate(self) -> None:
        _check_database("DATABASE_URL", self.database_url)
        _check_database("KEYS_DATABASE_URL", self.keys_database_url)
        if self.keys_database_url == self.database_url and self.database_url.startswith("sqlite"):
            raise BadSetting("THUMBWHEEL_KEYS_DATABASE_URL must be another file: a back-up must not hold the keys")
        if not 0 <= self.retention_days < math.inf:
            raise BadSetting(f"THUMBWHEEL_RETENTION_DAYS must be 0 (for ever) or positive, not {self.retention_days}")
        if not 0 < self.erasure_days < math.inf:
            raise BadSetting(f"THUMBWHEEL_ERASURE_DAYS must be positive, not {self.erasure_days}")
        if not 0 <= self.port <= 65535:
            raise BadSetting(f"THUMBWHEEL_PORT must lie between 0 and 65535, not {self.port}")
        if self.bus == "kafka" and not self.kafka_bootstrap:
            raise BadSetting("THUMBWHEEL_BUS=kafka needs THUMBWHEEL_KAFKA_BOOTSTRAP=host:port")
        if not 0 <= self.keep_days < math.inf:
            raise BadSetting(f"THUMBWHEEL_LOG_KEEP_DAYS must be 0 (for ever) or positive, not {self.log_keep_days}")
        if not self.model_alias or "/" in self.model_alias:
            raise BadSetting("THUMBWHEEL_MODEL_ALIAS must be a name without a slash")
        if not 1.0 <= self.lease_seconds < math.inf:
            raise BadSetting(f"THUMBWHEEL_LEASE_SECONDS must be at least 1, not {self.lease_seconds}")
        if "/" in self.replica:
            raise BadSetting("THUMBWHEEL_REPLICA must be a name without a slash")
        if self.data.exists() and not self.data.is_dir():
            raise BadSetting(f"THUMBWHEEL_DATA={self.data} is a file; name a folder")

    @property
    def keep_days(self) -> float:
        """`log_keep_days`, with the default filled in."""
        return self.log_keep_days or 0.0

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False


def _beside(database_url: str) -> str:
    """Where keys lie unless somebody says otherwise: replicas that share a database find the same ones."""
    if not database_url.startswith("sqlite:///"):
        return database_url
    return f"sqlite:///{Path(database_url.removeprefix('sqlite:///')).parent / 'keys.db'}"


def _check_database(name: str, url: str) -> None:
    if not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
        raise BadSetting(f"THUMBWHEEL_{name} must start with sqlite:/// or postgresql://")
    if ":memory:" in url or url == "sqlite:///":
        raise BadSetting(f"THUMBWHEEL_{name} must name a file: what is in memory only is lost feedback")


_LIMITS: dict[str, tuple[str, type[int] | type[float]]] = {
    "MAX_BODY_BYTES": ("body_bytes", int),
    "MAX_CHAT_BODY_BYTES": ("chat_body_bytes", int),
    "MAX_INTERNAL_BODY_BYTES": ("internal_body_bytes", int),
    "MAX_CHATS": ("chats_in_flight", int),
    "MAX_WRITES": ("writes_waiting", int),
    "MAX_CHATS_PER_MINUTE": ("chats_per_minute", int),
    "MAX_CALLS_PER_MINUTE": ("calls_per_minute", int),
    "DRAIN_SECONDS": ("drain_seconds", float),
}
_MAY_BE_ZERO = frozenset({"MAX_CHATS_PER_MINUTE", "MAX_CALLS_PER_MINUTE"})


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this environment (default: the process's); raises `BadSetting`."""
    source = os.environ if environment is None else environment
    given = {k.removeprefix(PREFIX): v for k, v in source.items() if k.startswith(PREFIX) and v != ""}
    bootstrap = given.get("KAFKA_BOOTSTRAP")
    bus = _one_of(given, "BUS", ("embedded", "kafka"), "kafka" if bootstrap else "embedded")
    return Settings(
        data=Path(given.get("DATA", ".thumbwheel")).expanduser(),
        database_url=given.get("DATABASE_URL", ""),
        keys_database_url=given.get("KEYS_DATABASE_URL", ""),
        erasure_days=_number(given, "ERASURE_DAYS", float, 7.0),
        retention_days=_number(given, "RETENTION_DAYS", float, 0.0),
        host=given.get("HOST", "127.0.0.1"),
        port=_number(given, "PORT", int, 8000),
        model=given.get("MODEL"),
        model_alias=given.get("MODEL_ALIAS", "thumbwheel"),
        bus=cast(Literal["embedded", "kafka"], bus),
        kafka_bootstrap=bootstrap,
        kafka_options=_below(given, "KAFKA_", without="bootstrap"),
        engine_options=_below(given, "ENGINE_"),
        artifacts=Path(given.get("ARTIFACTS", "")).expanduser(),
        signing_key_file=Path(given.get("SIGNING_KEY", "")).expanduser(),
        promote=cast(Literal["auto", "manual"], _one_of(given, "PROMOTE", ("auto", "manual"), "auto")),
        replica=given.get("REPLICA", ""),
        lease_seconds=_number(given, "LEASE_SECONDS", float, 20.0),
        log_keep_days=_number(given, "LOG_KEEP_DAYS", float, 0.0) if "LOG_KEEP_DAYS" in given else None,
        redact=_several(given, "REDACT", KINDS),
        redact_patterns=Path(given["REDACT_PATTERNS"]).expanduser() if "REDACT_PATTERNS" in given else None,
        redact_fields=_several(given, "REDACT_FIELDS", FIELDS),
        learner_silent_seconds=_number(given, "LEARNER_SILENT_SECONDS", float, 120.0),
        limits=_limits(given),
    )


def _below(given: Mapping[str, str], prefix: str, without: str = "") -> dict[str, str]:
    """Options that are handed on by name."""
    found = {name.removeprefix(prefix).lower(): value for name, value in given.items() if name.startswith(prefix)}
    found.pop(without, None)
    return found


def _limits(given: Mapping[str, str]) -> Limits:
    values: dict[str, float] = {}
    for name, (attribute, kind) in _LIMITS.items():
        if name in given:
            value = _number(given, name, kind, 0)
            if not (0 < value < math.inf or (value == 0 and name in _MAY_BE_ZERO)):
                raise BadSetting(f"{PREFIX}{name} must be positive, not {given[name]}")
            values[attribute] = value
    return Limits(**values)  # pyright: ignore[reportArgumentType] - the kinds are in _LIMITS


def _number(given: Mapping[str, str], name: str, kind: Callable[[str], N], default: N) -> N:
    try:
        return kind(given[name]) if name in given else default
    except ValueError as error:
        raise BadSetting(f"{PREFIX}{name} must be a number, not {given[name]!r}") from error


def _one_of(given: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = given.get(name, default)
    if value not in allowed:
        raise BadSetting(f"{PREFIX}{name} must be {' or '.join(allowed)}, not {value!r}")
    return value


def _several(given: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Words between commas, in the order of `allowed`; `all` stands for every one."""
    words = [word.strip().lower() for word in given.get(name, "").split(",")]
    unknown = [word for word in words if word and word != "all" and word not in allowed]
    if unknown:
        raise BadSetting(f"{PREFIX}{name} takes {', '.join(allowed)} or all, comma-separated, not {unknown[0]!r}")
    return allowed if "all" in words else tuple(word for word in allowed if word in words)

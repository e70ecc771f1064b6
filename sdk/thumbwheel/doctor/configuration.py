"""The part of the configuration that the doctor looks at, from the same environment variables as the service's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "THUMBWHEEL_"


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Where the service would keep its state, listen and connect to; read, never validated."""

    data: Path = Path(".thumbwheel")
    host: str = "127.0.0.1"
    port: str = "8000"
    model: str | None = None
    databases: Mapping[str, str] = field(default_factory=dict[str, str])
    """URL per half of the system, of those that are set."""
    kafka: str | None = None
    kafka_options: Mapping[str, str] = field(default_factory=dict[str, str])
    url: str | None = None
    """A running service to ask, when one is named."""


def from_environment(environment: Mapping[str, str]) -> Configuration:
    """What `THUMBWHEEL_…` says, with the service's defaults."""
    given = {name.removeprefix(PREFIX): value for name, value in environment.items() if name.startswith(PREFIX)}
    databases = {"service": given.get("DATABASE_URL"), "learner": given.get("LEARNER_DATABASE_URL")}
    options = {name: value for name, value in given.items() if name.startswith("KAFKA_") and name != "KAFKA_BOOTSTRAP"}
    return Configuration(
        data=Path(given.get("DATA") or ".thumbwheel").expanduser().absolute(),
        host=given.get("HOST") or "127.0.0.1",
        port=given.get("PORT") or "8000",
        model=given.get("MODEL") or None,
        databases={half: url for half, url in databases.items() if url},
        kafka=None if given.get("BUS") == "embedded" else given.get("KAFKA_BOOTSTRAP") or None,
        kafka_options={name.removeprefix("KAFKA_").lower(): value for name, value in options.items()},
        url=given.get("URL") or None,
    )

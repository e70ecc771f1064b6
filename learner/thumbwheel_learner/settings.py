"""Every setting of the learner, read once from the environment; only the composition root looks at it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from thumbwheel_learner.environment import PREFIX, BadSetting, number, one_of
from thumbwheel_learner.questions.settings import QuestionSettings, questions_from
from thumbwheel_learner.rlaif.settings import LabelerSettings
from thumbwheel_learner.runs.settings import Training, training_from


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The learner's settings; each is the environment variable `THUMBWHEEL_<NAME>`, with the default given here."""

    model: str
    """`MODEL`: the base model that the service serves: a local path or a hub id."""
    data: Path = Path(".thumbwheel")
    """`DATA`: folder of the state: database, snapshots, runs, reward models."""
    database_url: str = ""
    """`LEARNER_DATABASE_URL`: `sqlite:///…` or `postgresql://…`; default a SQLite file in `DATA`."""
    url: str = "http://127.0.0.1:8000"
    """`URL`: the service."""
    api_key: str = ""
    """`API_KEY`: an admin key; default what the file `DATA/admin.key` holds."""
    bus: Literal["embedded", "kafka"] = "embedded"
    """`BUS`; default `kafka` when `KAFKA_BOOTSTRAP` is set, else `embedded`."""
    kafka_bootstrap: str | None = None
    """`KAFKA_BOOTSTRAP`: `host:port`, comma-separated."""
    kafka_options: Mapping[str, str] = field(default_factory=dict[str, str])
    """`KAFKA_<OPTION>`: any other option of kafka-python in upper case, e.g. `KAFKA_SECURITY_PROTOCOL`."""
    artifacts: Path = Path()
    """`ARTIFACTS`: the artifact store, shared with the service; default `DATA/artifacts`."""
    signing_key_file: Path = Path()
    """`SIGNING_KEY`: file of the key that signs manifests, shared with the service; default `DATA/signing.key`."""
    promote: Literal["auto", "manual"] = "auto"
    """`PROMOTE`: `manual` offers a version, and a person moves the route."""
    learn_every_s: float = 3600.0
    """`LEARN_EVERY`: seconds between scheduled runs; 0: never by the clock."""
    learn_after_labels: int = 200
    """`LEARN_AFTER_LABELS`: a run starts when this many labels are new; 0: never by their number."""
    report_every_s: float = 2.0
    """`REPORT_EVERY`: seconds between status reports while training."""
    metrics_port: int = 0
    """`LEARNER_METRICS_PORT`: Prometheus metrics on loopback; 0: off."""
    newer_schema: Literal["pause", "set-aside"] = "pause"
    """`NEWER_SCHEMA`: a record of a newer Thumbwheel pauses its partition until this learner is upgraded; `set-aside`
    makes a dead letter of it, to be replayed after the upgrade."""
    training: Training = field(default_factory=Training)
    labeler: LabelerSettings = field(default_factory=LabelerSettings)
    questions: QuestionSettings = field(default_factory=QuestionSettings)

    def __post_init__(self) -> None:
        fill = object.__setattr__
        fill(self, "data", self.data.expanduser().absolute())
        if not self.database_url:
            fill(self, "database_url", f"sqlite:///{self.data / 'learner.db'}")
        if self.artifacts == Path():
            fill(self, "artifacts", self.data / "artifacts")
        if self.signing_key_file == Path():
            fill(self, "signing_key_file", self.data / "signing.key")
        self._validate()

    def _validate(self) -> None:
        if not self.model:
            raise BadSetting("THUMBWHEEL_MODEL is not set: name the base model that the service serves")
        if not 0 <= self.training.gate_win_rate < 1:
            raise BadSetting(f"THUMBWHEEL_GATE_WIN_RATE is a share below 1, not {self.training.gate_win_rate}")
        if (safety := self.training.gate_safety_prompts) is not None and not safety.is_file():
            raise BadSetting(f"THUMBWHEEL_GATE_SAFETY_PROMPTS={safety} is no file")
        if not self.database_url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise BadSetting("THUMBWHEEL_LEARNER_DATABASE_URL must start with sqlite:/// or postgresql://")
        if ":memory:" in self.database_url or self.database_url == "sqlite:///":
            raise BadSetting(
                "THUMBWHEEL_LEARNER_DATABASE_URL must name a file: what is in memory only is lost feedback"
            )
        if self.bus == "kafka" and not self.kafka_bootstrap:
            raise BadSetting("THUMBWHEEL_BUS=kafka needs THUMBWHEEL_KAFKA_BOOTSTRAP=host:port")
        if both := sorted({*self.training.voters_held} & {*self.training.voters_released}):
            raise BadSetting(f"{both[0]!r} is in both THUMBWHEEL_VOTERS_HELD and THUMBWHEEL_VOTERS_RELEASED")
        if self.labeler.url and not (self.labeler.model and self.labeler.url.startswith(("http://", "https://"))):
            raise BadSetting("THUMBWHEEL_LABELER_URL must be http:// or https://, and needs THUMBWHEEL_LABELER_MODEL")
        if self.data.exists() and not self.data.is_dir():
            raise BadSetting(f"THUMBWHEEL_DATA={self.data} is a file; name a folder")
        if self.report_every_s <= 0:
            raise BadSetting("THUMBWHEEL_REPORT_EVERY must be positive")

    @property
    def admin_key_file(self) -> Path:
        """Where the service's first start leaves the admin key."""
        return self.data / "admin.key"

    def admin_key(self) -> str | None:
        """The key for the service's internal routes, None while there is none yet."""
        if self.api_key:
            return self.api_key
        try:
            return self.admin_key_file.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None


def from_environment(environment: Mapping[str, str] | None = None, *, default_model: str | None = None) -> Settings:
    """The settings of this environment (default: the process's); raises `BadSetting`.

    `default_model` is served when none is named (the demo policy, if it is installed).
    """
    source = os.environ if environment is None else environment
    given = {k.removeprefix(PREFIX): v for k, v in source.items() if k.startswith(PREFIX) and v != ""}
    bootstrap = given.get("KAFKA_BOOTSTRAP")
    bus = one_of(given, "BUS", ("embedded", "kafka"), "kafka" if bootstrap else "embedded")
    options = {
        k.removeprefix("KAFKA_").lower(): v
        for k, v in given.items()
        if k.startswith("KAFKA_") and k != "KAFKA_BOOTSTRAP"
    }
    return Settings(
        model=given.get("MODEL", default_model or ""),
        data=Path(given.get("DATA", ".thumbwheel")),
        database_url=given.get("LEARNER_DATABASE_URL", ""),
        url=given.get("URL", "http://127.0.0.1:8000").rstrip("/"),
        api_key=given.get("API_KEY", ""),
        bus=cast(Literal["embedded", "kafka"], bus),
        kafka_bootstrap=bootstrap,
        kafka_options=options,
        artifacts=Path(given.get("ARTIFACTS", "")).expanduser(),
        signing_key_file=Path(given.get("SIGNING_KEY", "")).expanduser(),
        promote=cast(Literal["auto", "manual"], one_of(given, "PROMOTE", ("auto", "manual"), "auto")),
        learn_every_s=number(given, "LEARN_EVERY", float, 3600.0),
        learn_after_labels=number(given, "LEARN_AFTER_LABELS", int, 200),
        report_every_s=number(given, "REPORT_EVERY", float, 2.0),
        metrics_port=number(given, "LEARNER_METRICS_PORT", int, 0, highest=65535),
        newer_schema=cast(
            Literal["pause", "set-aside"], one_of(given, "NEWER_SCHEMA", ("pause", "set-aside"), "pause")
        ),
        training=training_from(given),
        questions=questions_from(given),
        labeler=LabelerSettings(
            url=given.get("LABELER_URL", "").rstrip("/"),
            model=given.get("LABELER_MODEL", ""),
            api_key=given.get("LABELER_API_KEY", ""),
            principle=given.get("LABELER_PRINCIPLE", ""),
            pairs=number(given, "LABELER_PAIRS", int, LabelerSettings.pairs),
        ),
    )

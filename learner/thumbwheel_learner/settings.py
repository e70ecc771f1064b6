"""Every setting of the learner, read once from the environment; only the composition root looks at it."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from thumbwheel.errors import ConfigurationError
from thumbwheel_learner.questions.settings import ACQUISITIONS, QuestionSettings
from thumbwheel_learner.rlaif.settings import LabelerSettings

PREFIX = "THUMBWHEEL_"
STAGES = ("reward", "sft", "ppo")
N = TypeVar("N", int, float)


class BadSetting(ConfigurationError):
    """A setting is missing or wrong; the message names the variable and says how to mend it."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How much and how long a run trains; sizes left at 0 keep the algorithm's own default."""

    stages: tuple[str, ...] = STAGES
    """`STAGES`: which of `reward,sft,ppo` a run goes through, comma-separated; the gate always judges the result."""
    min_labels: int = 50
    """`MIN_LABELS`: with fewer thumbs, ratings, flags, pairs and demonstrations than this no run starts."""
    judge_share: float = 0.0
    """`JUDGE_SHARE`: share of users whose labels and prompts are kept for the gate and its judge."""
    max_prompts: int = 50_000
    """`MAX_PROMPTS`: the newest logged prompts that a snapshot keeps."""
    lora_rank: int = 16
    """`LORA_RANK`: of an adapter that starts from the bare base; later versions keep their parent's."""
    reward_members: int = 0
    """`REWARD_MEMBERS`: models in the reward ensemble."""
    reward_epochs: int = 0
    """`REWARD_EPOCHS`: passes over the labels, of the reward model and of the judge."""
    sft_epochs: int = 0
    """`SFT_EPOCHS`: passes over corrections and demonstrations."""
    sft_learning_rate: float = 0.0
    """`SFT_LEARNING_RATE`: at a width of 192; wider models get less in proportion. So with the other two."""
    reward_learning_rate: float = 0.0
    """`REWARD_LEARNING_RATE`: of the reward model's adapters."""
    reward_length_head: float = 0.0
    """`REWARD_LENGTH_HEAD`: weight of the losses that keep the reward from correlating with the answer's length, 1 in
    the paper (ODIN); 0: off. Of the reward model and of the judge."""
    reward_meta_rate: float = 0.0
    """`REWARD_META_RATE`: step of the reward model towards telling the live policy's answers apart, before each
    gradient (MetaRM); 0: off. Costs 600 sampled answers a run, and time."""
    ppo_learning_rate: float = 0.0
    """`PPO_LEARNING_RATE`: of the policy, at the first iteration."""
    ppo_iterations: int = 0
    """`PPO_ITERATIONS`: rollout phases of a run; 0: as many as the labels bear, 14 at most."""
    ppo_epochs: int = 0
    """`PPO_EPOCHS`: passes over each iteration's answers."""
    ppo_kl_coef: float = 0.0
    """`PPO_KL_COEF`: price of a nat of distance to the run's starting policy, at the first iteration."""
    ppo_kl_target: float = 0.0
    """`PPO_KL_TARGET`: nats per answer that the adaptive coefficient aims at."""
    ppo_sft_coef: float = 0.0
    """`PPO_SFT_COEF`: weight of the corrections' loss in every step of PPO."""
    ppo_token_credit: float = 0.0
    """`PPO_TOKEN_CREDIT`: share of an answer's score that its words get by the reward model's attention to them."""
    ppo_prompts: int = 0
    """`PPO_PROMPTS`: prompts per iteration."""
    ppo_samples: int = 0
    """`PPO_SAMPLES`: answers per prompt."""
    max_new_tokens: int = 0
    """`MAX_NEW_TOKENS`: longest answer in rollouts and gate."""
    gate_prompts: int = 0
    """`GATE_PROMPTS`: held-out prompts in the gate, at most."""
    gate_judge_labels: int = 0
    """`GATE_JUDGE_LABELS`: labels the judge must have, and as many to check it with."""
    gate_win_rate: float = 0.0
    """`GATE_WIN_RATE`: what the win rate against the live policy must be shown to be above; default 0.5. With less, an
    update too small to be told from the live policy on so few prompts passes, and so may one that is slightly worse."""
    gate_max_kl: float = 0.0
    """`GATE_MAX_KL`: farthest from the live policy, nats per answer; a base model that SFT teaches to chat goes far."""
    gate_max_kl_base: float = 0.0
    """`GATE_MAX_KL_BASE`: farthest from the base model."""
    gate_safety_prompts: Path | None = None
    """`GATE_SAFETY_PROMPTS`: file of requests that a policy should not simply grant, one a line (`#`: a remark); the
    gate asks them beside its own."""
    voters: Literal["equal", "weigh"] = "equal"
    """`VOTERS`: `weigh` gives every user a weight by how far their votes can be trusted, bounds what one user can do,
    and keeps those out whose votes look like an attack, each named with a reason in the run's detail."""
    voters_released: tuple[str, ...] = ()
    """`VOTERS_RELEASED`: users, comma-separated, who weigh 1 and are never kept out, e.g. reviewers of your own."""
    voters_held: tuple[str, ...] = ()
    """`VOTERS_HELD`: users, comma-separated, whose labels are not learned from, whatever `VOTERS` says."""
    refine: Literal["off", "on"] = "off"
    """`REFINE`: `on` trains a refinement step on corrections and critiques, lets it answer what was only criticised,
    and learns from those of its answers that the reward model finds better."""
    threads: int = 0
    """`TRAIN_THREADS`: CPU threads of training; 0: one per core (the learner yields to the service by its priority)."""
    gradient_checkpointing: Literal["no", "yes"] = "no"
    """`GRADIENT_CHECKPOINTING`: `yes` keeps less of the forward pass in memory and computes it again."""
    shard_base: Literal["no", "yes"] = "no"
    """`SHARD_BASE`: `yes` spreads the base model over the processes that torchrun starts, for one that is larger than
    one of them can hold; else each holds all of it."""
    seed: int = 0
    """`SEED`: every draw of a run follows from it."""


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
    bus = _one_of(given, "BUS", ("embedded", "kafka"), "kafka" if bootstrap else "embedded")
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
        promote=cast(Literal["auto", "manual"], _one_of(given, "PROMOTE", ("auto", "manual"), "auto")),
        learn_every_s=_number(given, "LEARN_EVERY", float, 3600.0),
        learn_after_labels=_number(given, "LEARN_AFTER_LABELS", int, 200),
        report_every_s=_number(given, "REPORT_EVERY", float, 2.0),
        metrics_port=_number(given, "LEARNER_METRICS_PORT", int, 0, highest=65535),
        newer_schema=cast(
            Literal["pause", "set-aside"], _one_of(given, "NEWER_SCHEMA", ("pause", "set-aside"), "pause")
        ),
        training=_training(given),
        questions=_questions(given),
        labeler=LabelerSettings(
            url=given.get("LABELER_URL", "").rstrip("/"),
            model=given.get("LABELER_MODEL", ""),
            api_key=given.get("LABELER_API_KEY", ""),
            principle=given.get("LABELER_PRINCIPLE", ""),
            pairs=_number(given, "LABELER_PAIRS", int, LabelerSettings.pairs),
        ),
    )


def _questions(given: Mapping[str, str]) -> QuestionSettings:
    default = QuestionSettings()
    acquisition = _one_of(given, "QUESTIONS_ACQUISITION", ACQUISITIONS, default.acquisition)
    return QuestionSettings(
        per_day=_number(given, "QUESTIONS_PER_DAY", int, default.per_day),
        acquisition=cast(Any, acquisition),
        random_share=_number(given, "QUESTIONS_RANDOM_SHARE", float, default.random_share, lowest=0.01, highest=1.0),
        compare_share=_number(given, "QUESTIONS_COMPARE_SHARE", float, default.compare_share, highest=1.0),
        expiry_hours=_number(given, "QUESTIONS_EXPIRY_HOURS", float, default.expiry_hours, lowest=0.01, highest=8760),
        pool=_number(given, "QUESTIONS_POOL", int, default.pool, lowest=1),
        known=Path(given["QUESTIONS_KNOWN"]).expanduser() if "QUESTIONS_KNOWN" in given else None,
        known_share=_number(given, "QUESTIONS_KNOWN_SHARE", float, default.known_share, highest=1.0),
    )


def _training(given: Mapping[str, str]) -> Training:
    return Training(
        stages=stages_from(given.get("STAGES", ",".join(STAGES)), name=f"{PREFIX}STAGES"),
        min_labels=_number(given, "MIN_LABELS", int, Training.min_labels),
        judge_share=_number(given, "JUDGE_SHARE", float, 0.0, highest=0.9),
        max_prompts=_number(given, "MAX_PROMPTS", int, Training.max_prompts),
        lora_rank=_number(given, "LORA_RANK", int, Training.lora_rank, lowest=1),
        reward_members=_number(given, "REWARD_MEMBERS", int, 0),
        reward_epochs=_number(given, "REWARD_EPOCHS", int, 0),
        sft_epochs=_number(given, "SFT_EPOCHS", int, 0),
        sft_learning_rate=_number(given, "SFT_LEARNING_RATE", float, 0.0),
        reward_learning_rate=_number(given, "REWARD_LEARNING_RATE", float, 0.0),
        reward_length_head=_number(given, "REWARD_LENGTH_HEAD", float, 0.0),
        reward_meta_rate=_number(given, "REWARD_META_RATE", float, 0.0),
        ppo_learning_rate=_number(given, "PPO_LEARNING_RATE", float, 0.0),
        ppo_iterations=_number(given, "PPO_ITERATIONS", int, 0),
        ppo_epochs=_number(given, "PPO_EPOCHS", int, 0),
        ppo_kl_coef=_number(given, "PPO_KL_COEF", float, 0.0),
        ppo_kl_target=_number(given, "PPO_KL_TARGET", float, 0.0),
        ppo_sft_coef=_number(given, "PPO_SFT_COEF", float, 0.0),
        ppo_token_credit=_number(given, "PPO_TOKEN_CREDIT", float, 0.0, highest=1),
        ppo_prompts=_number(given, "PPO_PROMPTS", int, 0),
        ppo_samples=_number(given, "PPO_SAMPLES", int, 0),
        max_new_tokens=_number(given, "MAX_NEW_TOKENS", int, 0),
        gate_prompts=_number(given, "GATE_PROMPTS", int, 0),
        gate_judge_labels=_number(given, "GATE_JUDGE_LABELS", int, 0),
        gate_win_rate=_number(given, "GATE_WIN_RATE", float, 0.0),
        gate_max_kl=_number(given, "GATE_MAX_KL", float, 0.0),
        gate_max_kl_base=_number(given, "GATE_MAX_KL_BASE", float, 0.0),
        gate_safety_prompts=Path(given["GATE_SAFETY_PROMPTS"]) if "GATE_SAFETY_PROMPTS" in given else None,
        voters=cast(Literal["equal", "weigh"], _one_of(given, "VOTERS", ("equal", "weigh"), "equal")),
        voters_released=_listed(given, "VOTERS_RELEASED"),
        voters_held=_listed(given, "VOTERS_HELD"),
        refine=cast(Literal["off", "on"], _one_of(given, "REFINE", ("off", "on"), "off")),
        threads=_number(given, "TRAIN_THREADS", int, 0),
        gradient_checkpointing=cast(
            Literal["no", "yes"], _one_of(given, "GRADIENT_CHECKPOINTING", ("no", "yes"), "no")
        ),
        shard_base=cast(Literal["no", "yes"], _one_of(given, "SHARD_BASE", ("no", "yes"), "no")),
        seed=_number(given, "SEED", int, 0),
    )


def stages_from(text: str, *, name: str) -> tuple[str, ...]:
    """`sft,ppo` or `all`, in the order of a run; raises `BadSetting` naming `name`."""
    asked = {part.strip() for part in text.split(",") if part.strip()}
    if asked == {"all"}:
        return STAGES
    if not asked or not asked <= set(STAGES):
        raise BadSetting(f"{name} must be some of {', '.join(STAGES)} (or all), not {text!r}")
    return tuple(stage for stage in STAGES if stage in asked)


def _listed(given: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in given.get(name, "").split(",") if part.strip()))


def _number(
    given: Mapping[str, str],
    name: str,
    kind: Callable[[str], N],
    default: N,
    *,
    lowest: float = 0,
    highest: float = 1e15,
) -> N:
    try:
        value = kind(given[name]) if name in given else default
    except ValueError as error:
        raise BadSetting(f"{PREFIX}{name} must be a number, not {given[name]!r}") from error
    if math.isnan(value) or not lowest <= value <= highest:
        raise BadSetting(f"{PREFIX}{name} must lie between {lowest:g} and {highest:g}, not {value}")
    return value


def _one_of(given: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = given.get(name, default)
    if value not in allowed:
        raise BadSetting(f"{PREFIX}{name} must be {' or '.join(allowed)}, not {value!r}")
    return value

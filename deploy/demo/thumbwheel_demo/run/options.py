"""What anyone may change about a run of the demo."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from thumbwheel.errors import ConfigurationError

Stage = Literal["sft", "reward", "ppo"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class BadOption(ConfigurationError):
    """An option cannot be used; the message names it and says what would do."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """One run; the defaults are those of `make demo` and fit ten minutes on two cores."""

    seed: int = 1
    """People, prompts and training all follow from it."""
    noise: float = 0.1
    """Share of votes that say the opposite of what the customer thinks."""
    votes: float = 0.8
    """Share of chats that get a vote (while half of the answers are good; annoyed customers vote more)."""
    corrections: float = 0.2
    """Share of bad answers that an agent rewrites."""
    shuffle_votes: bool = False
    """Deal the votes out at random: the same thumbs, without information."""
    turns: int = 2
    """Turns of the wheel: people chat, the learner learns, the policy is swapped."""
    stages: tuple[Stage, ...] = ()
    """What the learner does per turn; empty: all of it."""
    chats: tuple[int, ...] = (800, 1500)
    """Chats of each turn before the learner is called; turns beyond the last number have as many as that."""
    background: float = 1.0
    """Chats per second that go on all the time, whatever else happens."""
    rush: float = 6.0
    """Chats per second while a verdict and a swap are near: a swap that nobody sees proves nothing."""
    heldout: int = 250
    """Held-out prompts on which every version is measured."""
    answers: int = 2
    """Answers per held-out prompt."""
    model: str | None = None
    """Local path or hub id of another model; None: the demo policy."""
    out: Path = Path("build/demo")
    """Where data, logs and the report go."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further settings of service and learner by the names of their environment variables."""
    patience: float = 900.0
    """Seconds without news from a learner in a run before giving up."""

    def __post_init__(self) -> None:
        for name in ("noise", "votes", "corrections"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise BadOption(f"--{name} is a share and must lie between 0 and 1, not {value}")
        if not self.chats or min(self.chats) < 1:
            raise BadOption(f"--chats must be at least 1 in every turn, not {_listed(self.chats) or 'nothing'}")
        for name, least in (("turns", 1), ("heldout", 10), ("answers", 1)):
            value = getattr(self, name)
            if value < least:
                raise BadOption(f"--{name} must be at least {least}, not {value}")
        if bad := [name for name in self.settings if not name.startswith("THUMBWHEEL_")]:
            raise BadOption(f"--set takes THUMBWHEEL_<NAME>=<value>, not {bad[0]!r}")
        for name in ("background", "rush"):
            if not 0.0 <= getattr(self, name) <= 50.0:
                raise BadOption(f"--{name} must lie between 0 and 50 chats per second, not {getattr(self, name)}")

    def chats_of(self, turn: int) -> int:
        """Chats before the learner is called in a turn, counted from 1."""
        return self.chats[min(turn, len(self.chats)) - 1]

    def figures(self) -> dict[str, object]:
        """For the report: everything that decides what happens, nothing about this machine."""
        names = ("seed", "noise", "votes", "corrections", "shuffle_votes", "turns", "background", "rush")
        return {
            **{name: getattr(self, name) for name in names},
            "chats": _listed(self.chats),
            "heldout": self.heldout,
            **self.settings,
            "answers": self.answers,
            "stages": ",".join(self.stages) or "all",
            "model": Path(self.model).name if self.model else "demo policy",
        }


def parse_chats(text: str) -> tuple[int, ...]:
    """`2000` for every turn or `500,1200` turn by turn; raises `BadOption`."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise BadOption(f"--chats takes numbers separated by commas, one per turn, not {text!r}") from error


def _listed(chats: tuple[int, ...]) -> str:
    return ",".join(map(str, chats))


def parse_stages(text: str) -> tuple[Stage, ...]:
    """`all`, or stages separated by commas; raises `BadOption`."""
    if text.strip() in ("", "all"):
        return ()
    names = tuple(part.strip() for part in text.split(","))
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        raise BadOption(f"--stages takes all, or some of {', '.join(STAGES)}, not {unknown[0]!r}")
    return cast(tuple[Stage, ...], names)

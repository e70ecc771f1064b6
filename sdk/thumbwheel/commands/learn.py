"""A word to the learner, through the service."""

from typing import TYPE_CHECKING, Literal

from thumbwheel.calls import Stage
from thumbwheel.errors import ConfigurationError

if TYPE_CHECKING:
    from thumbwheel.client import Client

Word = Literal["now", "pause", "resume"]
STAGES: tuple[Stage, ...] = ("sft", "reward", "ppo")


def parse_stages(text: str) -> list[Stage]:
    """`sft,ppo` to a list, `all` or nothing to an empty one; raises `ConfigurationError`."""
    asked = [part.strip() for part in text.split(",") if part.strip()]
    if asked in ([], ["all"]):
        return []
    known: list[Stage] = [stage for stage in STAGES if stage in asked]
    if len(known) != len(set(asked)):
        raise ConfigurationError(f"--stages takes some of {', '.join(STAGES)}, or all, not {text!r}")
    return known


def learn_command(client: "Client", word: Word, stages: str = "all") -> str:
    """Tell the learner to start a run now, to pause or to go on; returns what to tell the person.

    Raises `ThumbwheelError`. The learner hears of it through the bus, so it need not be running yet.
    """
    match word:
        case "now":
            chosen = client.learner.now(parse_stages(stages)).stages
            return "asked for a training run now" + (f" ({', '.join(chosen)})" if chosen else "")
        case "pause":
            client.learner.pause()
            return "no further training runs until `thumbwheel learn --resume`"
        case "resume":
            client.learner.resume()
            return "training runs go on"

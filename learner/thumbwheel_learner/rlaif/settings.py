"""Settings of the labeler; read by `thumbwheel_learner.settings`, as all are."""

from dataclasses import dataclass

PRINCIPLE = (
    "The better answer does what the person asked for, is true and honest about what it does not know, is polite, "
    "and is no longer than it has to be."
)


@dataclass(frozen=True, kw_only=True)
class LabelerSettings:
    """A language model that is asked which of two answers is better; off without an address."""

    url: str = ""
    """`LABELER_URL`: base URL of an OpenAI-compatible API, e.g. `https://labeler.example/v1`; empty: off. It gets to
    read conversations and answers."""
    model: str = ""
    """`LABELER_MODEL`: the model to ask there."""
    api_key: str = ""
    """`LABELER_API_KEY`: sent as a bearer token, if set."""
    principle: str = ""
    """`LABELER_PRINCIPLE`: what makes an answer the better one, in words; default: helpful, honest, polite, short."""
    pairs: int = 200
    """`LABELER_PAIRS`: pairs of answers that a run asks about at most, each in both orders."""

"""What is asked of a labeler: which of two answers a principle prefers."""

from typing import NamedTuple, Protocol

from thumbwheel_learner.dataset.examples import Messages
from thumbwheel_learner.errors import LearnerError


class NoVerdict(LearnerError):
    """There is none on this pair; another one may have one."""


class BadVerdict(NoVerdict):
    """What the labeler said is not the verdict that was asked for."""


class LabelerRefused(NoVerdict):
    """The labeler will not answer this, however often it is asked."""


class LabelerAway(LearnerError):
    """The labeler does not answer now."""


class Verdict(NamedTuple):
    """What a labeler says of two answers."""

    probability: float
    """That the first is better, 0.5 for a tie."""
    reason: str
    labeler: str
    """Who said it."""
    consistent: bool = True
    """Whether the same answer won in both orders."""


class PreferenceLabeler(Protocol):
    """A principle in, a verdict out (Bai et al. 2022, arXiv:2212.08073; Lee et al. 2023, arXiv:2309.00267)."""

    @property
    def name(self) -> str:
        """Who says it; changes with everything that may change a verdict, such as the model or the question's words."""
        ...

    def compare(self, principle: str, messages: Messages, first: str, second: str) -> Verdict:
        """Which answer to `messages` is better by `principle`; raises `NoVerdict`, `LabelerAway`."""
        ...

"""How far a labeler agrees with people, and what its labels are worth for it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of scipy are partial; what leaves this file is typed)

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy.special import betaincinv

from thumbwheel_learner.rlaif.questions import HumanPair

PRIOR = 5.0
"""Each parameter of the Beta prior: as if ten pairs had been agreed upon by the toss of a coin."""


class Agreement(NamedTuple):
    """On pairs of one origin that people and the labeler have both judged."""

    origin: str
    pairs: float
    """How many, each as heavy as its person."""
    agreed: float
    """Of these; half of one where the labeler sees a tie."""

    @property
    def mean(self) -> float:
        """Of the posterior Beta(`PRIOR` + agreed, `PRIOR` + disagreed)."""
        return (PRIOR + self.agreed) / (2 * PRIOR + self.pairs)

    def quantile(self, share: float) -> float:
        """Of the posterior."""
        return float(betaincinv(PRIOR + self.agreed, PRIOR + self.pairs - self.agreed, share))

    def as_dict(self) -> dict[str, Any]:
        """For the run's detail, with a 95% credible interval."""
        return {
            "pairs": self.pairs,
            "agreed": self.agreed,
            "mean": self.mean,
            "low": self.quantile(0.025),
            "high": self.quantile(0.975),
        }


def agreements(
    humans: Sequence[HumanPair], probabilities: Mapping[str, float], weights: Mapping[str, float]
) -> list[Agreement]:
    """By origin; `probabilities` that the first answer is better by digest, `weights` by user, 1 if not named."""
    pairs: dict[str, float] = defaultdict(float)
    agreed: dict[str, float] = defaultdict(float)
    for human in humans:
        probability = probabilities.get(human.question.digest)
        if probability is not None:
            weight = weights.get(human.user, 1.0)
            pairs[human.origin] += weight
            said = 0.5 if probability == 0.5 else float((probability > 0.5) == human.prefers_first)
            agreed[human.origin] += weight * said
    return [Agreement(origin, pairs[origin], agreed[origin]) for origin in sorted(pairs)]


def worth(found: Sequence[Agreement], min_pairs: int) -> float:
    """What a label of it weighs: max(0, 2a - 1), the agreement a being the lowest of any origin with enough pairs.

    2a - 1 is the weight of a voter who is right with probability a in a weighted majority vote between two (Li and Yu
    2014, arXiv:1411.4086). 0 until one origin has `min_pairs`. The lowest, because it is easier to tell a person's
    correction from what it corrects than one answer of a policy from another.
    """
    enough = [agreement.mean for agreement in found if agreement.pairs >= min_pairs]
    return max(0.0, 2 * min(enough) - 1) if enough else 0.0

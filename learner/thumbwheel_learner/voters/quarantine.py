"""Whose labels stay out until an operator has looked: each with a reason that can be read and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from thumbwheel_learner.measures import Array, Indices
from thumbwheel_learner.voters.agreement import Agreement, discoveries
from thumbwheel_learner.voters.together import Company


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """What it takes to be held."""

    false_share: float = 0.01
    """Of those held for contradiction, how many may be honest on average; and of those held for company, the chance
    that anybody honest is."""
    loud: float = 5.0
    """Times the median user's labels: whoever gives fewer is never held for company."""
    flood: float = 20.0
    """Times the median user's labels: whoever gives so many must agree with others better than chance."""
    flood_labels: int = 50
    """Below this nobody floods."""
    flood_agreement: float = 0.25
    """Of the population's: a flood that certainly agrees less than this is held."""


class Held(NamedTuple):
    """One user in quarantine."""

    user: str
    labels: int
    reason: str


SURE = 2.326
"""One-sided 99% of a normal."""


def contradicting(found: Agreement, votes: Array, suspicion: Suspicion) -> dict[int, str]:
    """Users whose votes speak against what others say of comparable answers, beyond chance."""
    return {
        int(u): f"votes against what others say of comparable answers: {votes[u]:.0f} votes, agreement "
        f"{found.slope[u]:+.2f} where users have {found.population:+.2f} on average, evidence {_odds(found.against[u])}"
        for u in discoveries(found.against, suspicion.false_share)
    }


def flooding(found: Agreement, loads: Array, typical: float, suspicion: Suspicion) -> dict[int, str]:
    """Users who vote very much more than others and agree with them hardly better than chance; `typical`: the median
    user's labels."""
    many = (loads >= suspicion.flood * typical) & (loads >= suspicion.flood_labels)
    highest = found.slope + SURE * found.error
    idle: Indices = np.flatnonzero(many & (highest < suspicion.flood_agreement * found.population))
    return {
        int(u): f"{loads[u]:.0f} labels, {loads[u] / typical:.0f} times the typical user's, that agree with others "
        f"hardly better than chance: {found.slope[u]:+.2f} where users have {found.population:+.2f} on average"
        for u in idle
    }


def in_company(company: Mapping[int, Company], loads: Array, typical: float) -> dict[int, str]:
    """Loud users who leave the others' opinion in the same direction."""
    return {
        u: f"votes like {c.others} other loud users and unlike everybody else: up where answers say "
        f"{', '.join(repr(w) for w in c.words)}; {loads[u]:.0f} labels, {loads[u] / typical:.0f} times the typical "
        f"user's; {c.z:.1f} standard errors from chance"
        for u, c in company.items()
    }


def held_users(names: Sequence[str], loads: Array, reasons: Sequence[Mapping[int, str]]) -> list[Held]:
    """Everybody with a reason, the first reason of each, most labels first."""
    first: dict[int, str] = {}
    for found in reasons:
        for user, reason in found.items():
            first.setdefault(user, reason)
    order = sorted(first, key=lambda u: (-loads[u], names[u]))
    return [Held(names[u], int(loads[u]), first[u]) for u in order]


def _odds(log_evidence: Any) -> str:
    """`12,000 to 1`, in round figures, or a power of ten."""
    power = float(log_evidence) / np.log(10)
    return f"{10**power:,.0f} to 1" if power < 6 else f"10^{power:.0f} to 1"

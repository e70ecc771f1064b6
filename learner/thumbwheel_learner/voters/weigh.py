"""From labels to a weight per user and a list of users in quarantine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from thumbwheel_learner.dataset.examples import Judged, Pair, Snapshot
from thumbwheel_learner.measures import Array, Indices
from thumbwheel_learner.voters.agreement import Agreement, agreement
from thumbwheel_learner.voters.influence import capped
from thumbwheel_learner.voters.others import Words, base_rate, expected
from thumbwheel_learner.voters.quarantine import Held, Suspicion, contradicting, flooding, held_users, in_company
from thumbwheel_learner.voters.together import together
from thumbwheel_learner.voters.votes import Vote, loads, votes_of

BY_OPERATOR = "held by an operator"
ROUNDS = 4
"""Times the others' opinion is formed anew without those in quarantine; it settles sooner."""


@dataclass(frozen=True, kw_only=True)
class VotersConfig:
    """How users are weighed; an operator's word holds whether they are or not."""

    weigh: bool = False
    """Whether reliability, cap and quarantine apply at all."""
    min_users: int = 20
    min_votes: int = 200
    """With fewer users or votes everybody weighs 1."""
    cap_multiple: float = 3.0
    """Labels of one user weigh together at most so many times what the median user gives,"""
    cap_floor: float = 5.0
    """or so many labels, where that is more,"""
    cap_share: float = 0.05
    """and at most this share of all."""
    suspicion: Suspicion = field(default_factory=Suspicion)
    released: tuple[str, ...] = ()
    """Users an operator trusts: weight 1, no cap, never in quarantine."""
    held: tuple[str, ...] = ()
    """Users an operator keeps out, whatever their votes say."""


class Weighing(NamedTuple):
    """What each user's labels are worth."""

    weights: dict[str, float]
    """By user; 0 in quarantine. Who is not named weighs 1."""
    held: list[Held]
    weighed: bool
    """False: there was too little to go by, or it is switched off; only the operator's word holds."""

    def of(self, user: str) -> float:
        """The weight of each of this user's labels."""
        return self.weights.get(user, 1.0)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON for the run's detail; names only those in quarantine."""
        inside = [w for w in self.weights.values() if w > 0]
        return {
            "weighed": self.weighed,
            "users": len(self.weights),
            "mean_weight": float(np.mean(inside)) if inside else None,
            "below_half": sum(w < 0.5 for w in inside),
            "quarantined": [held._asdict() for held in self.held],
        }


def weigh(
    judged: Sequence[Judged],
    pairs: Sequence[Pair],
    config: VotersConfig,
    *,
    known: Mapping[str, bool] | None = None,
) -> Weighing:
    """Weigh everybody who gave these labels; `known` truths (honeypots) go by `votes.item_key`.

    Who only ever corrected has cast no vote to be judged by, and weighs 1.
    """
    count = loads(judged, pairs)
    names = sorted({*count, *(p.user for p in pairs)})
    votes = votes_of(judged)
    by_hand = [Held(u, count[u], BY_OPERATOR) for u in config.held]
    if not config.weigh or len(names) < config.min_users or len(votes) < config.min_votes:
        return Weighing(dict.fromkeys(names, 1.0) | dict.fromkeys(config.held, 0.0), by_hand, weighed=False)
    number = np.array([count[u] for u in names], dtype=np.float64)
    electorate = _Electorate(names, number, votes, config, known or {})
    worth, found = electorate.settle()
    weights = dict(zip(names, worth.tolist(), strict=True))
    weights |= {h.user: 0.0 for h in found} | dict.fromkeys(config.released, 1.0) | dict.fromkeys(config.held, 0.0)
    return Weighing(weights, [*by_hand, *(h for h in found if h.user not in config.held)], weighed=True)


def without_held(snapshot: Snapshot, weighing: Weighing) -> Snapshot:
    """The snapshot without anything that users in quarantine said; their prompts stay, since they are no labels."""
    out = {user for user, weight in weighing.weights.items() if weight == 0}
    return msgspec.structs.replace(
        snapshot,
        judged=[x for x in snapshot.judged if x.user not in out],
        pairs=[x for x in snapshot.pairs if x.user not in out],
        demos=[x for x in snapshot.demos if x.user not in out],
        critiques=[x for x in snapshot.critiques if x.user not in out],
        outcomes=[x for x in snapshot.outcomes if x.user not in out],
    )


class _Electorate:
    """The votes as arrays, and the rounds in which users and the others' opinion settle each other."""

    def __init__(
        self, names: list[str], number: Array, votes: list[Vote], config: VotersConfig, known: Mapping[str, bool]
    ) -> None:
        self.names, self.number, self.votes, self.config, self.known = names, number, votes, config, known
        at = {name: n for n, name in enumerate(names)}
        self.user: Indices = np.array([at[v.user] for v in votes], dtype=np.intp)
        self.up = np.array([float(v.up) for v in votes])
        self.words = Words(votes)
        voted = number > 0
        self.cap = np.ones(len(names))
        self.cap[voted] = capped(
            number[voted], multiple=config.cap_multiple, floor=config.cap_floor, share=config.cap_share
        )
        self.typical = number[voted]

    def settle(self) -> tuple[Array, list[Held]]:
        """[users] weights before quarantine, and who is in it."""
        out = set(self.config.held)
        worth, found = self._round(out)
        for _ in range(ROUNDS - 1):
            named = {h.user for h in found} | set(self.config.held)
            if named == out:
                break
            out = named
            worth, found = self._round(out)
        return worth, found

    def _round(self, out: set[str]) -> tuple[Array, list[Held]]:
        inside = np.array([name not in out for name in self.names], dtype=np.float64)
        trust = self.cap * inside
        weights = trust[self.user]
        base = base_rate(self.up, weights)
        chances = expected(self.votes, self.words, weights, self.known)
        found = agreement(self.user, self.up, chances, base, trust)
        return self.cap * found.reliability(), self._held(found, chances)

    def _held(self, found: Agreement, chances: Array) -> list[Held]:
        suspicion, voted = self.config.suspicion, self.number > 0
        typical = float(np.median(self.typical))
        votes = np.bincount(self.user, minlength=len(self.names)).astype(np.float64)
        loud = np.flatnonzero((self.number >= suspicion.loud * typical) & (votes > 0))
        group = together(
            self.user, self.up, chances, self.words, loud, users=int(voted.sum()), false_share=suspicion.false_share
        )
        reasons = [
            contradicting(found, votes, suspicion),
            flooding(found, self.number, typical, suspicion),
            in_company(group, self.number, typical),
        ]
        held = held_users(self.names, self.number, reasons)
        return [h for h in held if h.user not in self.config.released]

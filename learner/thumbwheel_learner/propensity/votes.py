"""From a snapshot to what each thumb weighs in it."""

from typing import Any, NamedTuple

from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.measures import Array
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import fit
from thumbwheel_learner.propensity.belief import believed
from thumbwheel_learner.propensity.chats import Chats, chats_of
from thumbwheel_learner.propensity.fit import NoFit
from thumbwheel_learner.propensity.weigh import PropensityConfig, lacking, weigh_votes
from thumbwheel_learner.reward.frozen import read_frozen
from thumbwheel_learner.reward.labels import Row


class Spoken(NamedTuple):
    """What the thumbs that nobody asked for stand for."""

    weights: dict[str, float]
    """By event id, 1 on average; empty where there is too little to go by."""
    facts: dict[str, Any]
    """How P(vote) was estimated and how well it is known, or why it was not."""


def weigh_thumbs(
    model: PolicyModel, snapshot: Snapshot, max_length: int, config: PropensityConfig | None = None
) -> Spoken:
    """Each thumb by the clipped inverse of P(vote | chat, satisfaction), so that it speaks for those like its giver who
    kept silent; all 1 unless the random slice can tell."""
    config = config or PropensityConfig()
    chats = chats_of(snapshot)
    if reason := lacking(chats.desk(None), config):
        return Spoken({}, {"basis": "none", "reason": reason, "chats": len(chats.answers)})
    try:
        found = weigh_votes(chats.desk(_belief(model, chats, max_length)), config)
    except NoFit as error:
        return Spoken({}, {"basis": "none", "reason": str(error), "chats": len(chats.answers)})
    weights = {
        event: weight
        for events, weight in zip(chats.votes, found.weights.tolist(), strict=True)
        for event in events
        if weight
    }
    return Spoken(weights, {"chats": len(chats.answers), **found.as_dict()})


def _belief(model: PolicyModel, chats: Chats, max_length: int) -> Array:
    tokens = model.tokens
    rows = [Row(*fit(tokens.prompt_ids(a.messages), tokens.answer_ids(a.answer), max_length)) for a in chats.voted_on]
    return believed(chats, read_frozen(model, rows))

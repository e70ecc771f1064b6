"""P(satisfied) of voters by heads that have not seen their votes: what tells a mistaken vote from a meant one."""

import numpy as np

from thumbwheel_learner.measures import Array, Indices, numbered, sigmoid
from thumbwheel_learner.propensity.chats import Chats
from thumbwheel_learner.propensity.model import FOLDS, folds
from thumbwheel_learner.reward.heads import HeadsConfig, Labels, RewardHeads

HEADS = HeadsConfig(members=1, hidden=0, prior_scale=0.0, bootstrap=False)


def believed(chats: Chats, features: Array) -> Array:
    """[N] P(up) of every vote by a linear head trained on the other folds' votes, ½ without one.

    `features` [V, F] are of the answers with a vote, in order.

    Folds are of conversations, so that what one person says twice is not learned from.
    """
    at: Indices = np.flatnonzero(chats.voted)
    up, number = chats.up[at], numbered(a.conversation_id for a in chats.voted_on)
    fold = folds(int(number.max()) + 1)[number]
    out = np.full(len(chats.answers), 0.5)
    for n in range(FOLDS):
        seen: Indices = np.flatnonzero(fold != n)
        held: Indices = np.flatnonzero(fold == n)
        heads = RewardHeads(features[seen], HEADS)
        groups = number[seen].tolist()
        heads.fit(features[seen], Labels(answers=np.arange(len(seen)), liked=up[seen], answer_groups=groups))
        logits = heads.members(features[held])[:, 0] + float(heads.bias[0, 0].detach())
        out[at[held]] = sigmoid(logits)
    return out

"""Belief about votes by who has not seen them."""

import numpy as np

from thumbwheel_learner.measures import Array, auc
from thumbwheel_learner.propensity.belief import believed
from thumbwheel_learner.propensity.chats import Chats, chats_of

from . import snapshot_made as made


def chats_with(up: list[bool]) -> Chats:
    return chats_of(
        made.of(
            [made.chat(n, "yes") for n in range(len(up) + 1)], [made.voted(n, "yes", up=u) for n, u in enumerate(up)]
        )
    )


def test_what_others_votes_teach_is_believed() -> None:
    rng = np.random.default_rng(0)
    features: Array = rng.normal(size=(300, 5))
    meant = features[:, 0] > 0
    chats = chats_with((meant != (rng.random(300) < 0.1)).tolist())
    found = believed(chats, features)
    assert auc(found[:300], meant.astype(np.float64)) > 0.95
    assert found[300] == 0.5, "no vote"


def test_a_vote_is_not_read_off_its_own_label() -> None:
    up = (np.random.default_rng(1).random(200) < 0.5).tolist()
    found = believed(chats_with(up), np.eye(200))
    assert abs(auc(found[:200], np.array(up, dtype=np.float64)) - 0.5) < 0.12

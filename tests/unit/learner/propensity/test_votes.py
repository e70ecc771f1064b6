"""From a snapshot to the weights of its thumbs."""

from pathlib import Path

import numpy as np
import pytest
from tests.learner_models import make_base

from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.propensity.votes import weigh_thumbs
from thumbwheel_learner.propensity.weigh import PropensityConfig

from . import snapshot_made as made

GOOD, BAD = "sorry refund now", "rude no no"


def desk(chats: int, reviews: int) -> Snapshot:
    """Who is dissatisfied votes in six of ten chats, who is satisfied in two."""
    rng = np.random.default_rng(3)
    good = rng.random(chats) < 0.6
    speaks = rng.random(chats) < np.where(good, 0.2, 0.6)
    answers = [GOOD if g else BAD for g in good.tolist()]
    votes = [made.voted(n, answers[n], up=bool(good[n])) for n in np.flatnonzero(speaks).tolist()]
    slice_ = rng.permutation(chats)[:reviews].tolist()
    seen = [made.asked(n, answers[n], up=bool(good[n])) for n in slice_]
    return made.of([made.chat(n, answer) for n, answer in enumerate(answers)], [*votes, *seen])


def test_the_thumbs_of_those_who_seldom_vote_count_more(tmp_path: Path) -> None:
    model = load_policy(make_base(tmp_path / "base"))
    data = desk(900, 300)
    spoken = weigh_thumbs(model, data, 64)
    assert spoken.facts["basis"] == "reviews"
    assert spoken.facts["calibration"]["n"] == 300
    said = {j.event_id: j.value for j in data.judged if j.review_id is None}
    assert spoken.weights.keys() == said.keys()
    up, down = ([w for e, w in spoken.weights.items() if said[e] == value] for value in (1.0, 0.0))
    assert 2.0 < np.mean(up) / np.mean(down) < 4.5
    assert np.mean([*up, *down]) == pytest.approx(1.0)


def test_without_a_slice_that_can_tell_all_thumbs_weigh_the_same_and_the_reason_is_said(tmp_path: Path) -> None:
    model = load_policy(make_base(tmp_path / "base"))
    spoken = weigh_thumbs(model, desk(900, 60), 64, PropensityConfig())
    assert spoken.weights == {}
    assert spoken.facts["reason"] == "60 reviews of the random slice, wanted 100"
    assert weigh_thumbs(model, made.of([], []), 64).weights == {}

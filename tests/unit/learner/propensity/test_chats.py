"""Which answers were voted on unasked, and what reviewers of the random slice found."""

import numpy as np
from msgspec.structs import replace

from thumbwheel_learner.propensity.chats import chats_of

from . import snapshot_made as made


def test_a_thumb_nobody_asked_for_is_a_vote_and_the_last_one_holds() -> None:
    late = replace(made.voted(0, "yes", up=False), event_id="later", created_ms=9)
    found = chats_of(made.of([made.chat(0, "yes"), made.chat(1, "no")], [late, made.voted(0, "yes", up=True)]))
    assert found.voted.tolist() == [True, False]
    assert found.up[0] == 0.0
    assert found.votes == [["event-0", "later"], []]
    assert np.isnan(found.satisfied).all()


def test_only_the_random_slice_says_who_is_satisfied() -> None:
    prompts = [made.chat(n, "yes") for n in range(4)]
    judged = [
        made.asked(0, "yes", up=True),
        made.asked(1, "yes", up=False),
        made.asked(2, "yes", up=True, random=False),
    ]
    found = chats_of(made.of(prompts, judged, [made.corrected(3, "yes")]))
    assert found.satisfied[[0, 1, 3]].tolist() == [1.0, 0.0, 0.0]
    assert np.isnan(found.satisfied[2]), "chosen because of its score"
    assert not found.voted.any(), "asked for"


def test_words_on_other_answers_belong_to_no_chat() -> None:
    found = chats_of(made.of([made.chat(0, "yes")], [made.voted(0, "no", up=True), made.voted(1, "yes", up=True)]))
    assert not found.voted.any()


def test_common_intents_are_features_and_rare_ones_are_not() -> None:
    prompts = [made.chat(n, "yes", "refund" if n < 20 else "rare" if n < 25 else None) for n in range(40)]
    found = chats_of(made.of(prompts, []))
    assert found.features.shape == (40, 4)
    assert found.features[:, 3].tolist() == [1.0] * 20 + [0.0] * 20
    assert chats_of(made.of([], [])).features.shape == (0, 3)

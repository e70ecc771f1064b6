from dataclasses import replace

import numpy as np
import pytest

from thumbwheel_learner.measures import Array, Indices
from thumbwheel_learner.reward.heads import HeadsConfig, Labels, Margins, NothingToLearn, RewardHeads

SMALL = HeadsConfig(members=4, hidden=4, steps=60)


def answers(count: int = 200) -> tuple[Array, Array]:
    """Features on scales far apart, and the quality that is linear in the first two."""
    features = np.random.default_rng(0).normal(size=(count, 5))
    return features * [1, 100, 1, 1, 1] + 7, features[:, 0] + features[:, 1]


def preferred(quality: Array) -> Indices:
    """Each two neighbours, the better one first."""
    rows = np.arange(len(quality)).reshape(-1, 2)
    return np.where((quality[rows[:, 0]] > quality[rows[:, 1]])[:, None], rows, rows[:, ::-1])


def groups(count: int) -> list[str]:
    return [f"user {n % 20}" for n in range(count)]


@pytest.mark.parametrize("hidden", [0, 4])
def test_pairs_teach_what_is_better(hidden: int) -> None:
    features, quality = answers()
    pairs = preferred(quality)
    heads = RewardHeads(features[:150], replace(SMALL, hidden=hidden))
    heads.fit(features, Labels(pairs=pairs[:75], pair_groups=groups(75)))
    unseen = heads.margins(features, pairs[75:])
    assert (unseen.mean > 0).mean() > 0.9
    assert np.corrcoef(heads.reward(features)[0], quality)[0, 1] > 0.9


def test_words_on_single_answers_teach_as_well() -> None:
    features, quality = answers()
    rows = np.arange(150)
    heads = RewardHeads(features[:150], SMALL)
    heads.fit(features, Labels(answers=rows, liked=(quality[:150] > 0.5) * 1.0, answer_groups=groups(150)))
    mean, spread = heads.reward(features[150:])
    assert np.corrcoef(mean, quality[150:])[0, 1] > 0.8
    assert (spread > 0).all()


def test_pairs_and_words_are_learned_from_together() -> None:
    features, quality = answers()
    pairs = preferred(quality)
    pair_labels = Labels(pairs=pairs[:10], pair_groups=groups(10))
    both = replace(pair_labels, answers=np.arange(100), liked=(quality[:100] > 0) * 1.0, answer_groups=groups(100))
    right: list[float] = []
    for labels in (pair_labels, both):
        heads = RewardHeads(features, SMALL)
        heads.fit(features, labels)
        right.append(float((heads.margins(features, pairs[50:]).mean > 0).mean()))
    assert right[1] > right[0]


def test_the_same_seed_gives_the_same_reward_and_another_one_another() -> None:
    features, quality = answers(60)

    def rewards(seed: int) -> Array:
        heads = RewardHeads(features, replace(SMALL, seed=seed))
        heads.fit(features, Labels(pairs=preferred(quality), pair_groups=groups(30)))
        return heads.members(features)

    assert np.array_equal(rewards(1), rewards(1))
    assert not np.allclose(rewards(1), rewards(2))


def test_members_disagree_most_where_no_label_was() -> None:
    """The fixed random heads stay where nothing was learned (Osband et al. 2018)."""
    features, quality = answers()
    usual = features.copy()
    usual[:, 4] = 7
    heads = RewardHeads(features, replace(SMALL, members=8, weight_decay=0.01, prior_scale=1.0, steps=150))
    heads.fit(usual, Labels(pairs=preferred(quality), pair_groups=groups(100)))
    strange = usual.copy()
    strange[:, 4] = 11
    assert heads.reward(strange)[1].mean() > 1.5 * heads.reward(usual)[1].mean()


def test_without_prior_and_bootstrap_members_agree_more() -> None:
    features, quality = answers()
    labels = Labels(pairs=preferred(quality), pair_groups=groups(100))

    def spread(config: HeadsConfig) -> float:
        heads = RewardHeads(features, config)
        heads.fit(features, labels)
        return float(heads.reward(features)[1].mean() / heads.reward(features)[0].std())

    full = replace(SMALL, hidden=0)
    assert spread(replace(full, prior_scale=0.0, bootstrap=False)) < spread(replace(full, prior_scale=0.0))
    assert spread(replace(full, prior_scale=0.0)) < spread(replace(full, prior_scale=1.0))


def test_the_temperature_takes_back_what_was_too_sure() -> None:
    rng = np.random.default_rng(3)
    features, quality = answers(2000)
    pairs = preferred(quality)
    mistaken = rng.random(len(pairs)) < 0.3
    said = np.where(mistaken[:, None], pairs[:, ::-1], pairs)
    heads = RewardHeads(features, replace(SMALL, weight_decay=0.0, steps=300))
    heads.fit(features, Labels(pairs=said[:40], pair_groups=[*range(40)]))
    heads.calibrate(features, said[500:])
    assert heads.temperature > 1.5
    stated = heads.margins(features, said[40:500]).stated
    assert np.maximum(stated, 1 - stated).mean() == pytest.approx((stated > 0.5).mean(), abs=0.1)


def test_disagreement_is_about_who_is_better_not_about_how_much() -> None:
    margins = Margins(np.array([[9.0, 1.0, 5.0], [0.1, -0.1, 0.01]]), temperature=1.0)
    sure, split = margins.disagreement
    assert sure < 0.1 < 0.4 < split < 0.5


def test_nothing_to_learn_from_is_refused() -> None:
    features, _ = answers(10)
    with pytest.raises(NothingToLearn):
        RewardHeads(features, SMALL).fit(features, Labels())

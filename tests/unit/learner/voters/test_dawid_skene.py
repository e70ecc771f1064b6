import numpy as np

from thumbwheel_learner.measures import Array, Indices
from thumbwheel_learner.voters.dawid_skene import dawid_skene, without_own


def overlapping(
    sensitivity: Array, specificity: Array, items: int, each: int, seed: int
) -> tuple[Indices, Indices, Array, Array]:
    rng = np.random.default_rng(seed)
    truth = rng.random(items) < 0.6
    user = np.concatenate([rng.choice(len(sensitivity), each, replace=False) for _ in range(items)])
    item = np.repeat(np.arange(items), each)
    chance = np.where(truth[item], sensitivity[user], 1 - specificity[user])
    return user, item, (rng.random(len(user)) < chance).astype(np.float64), truth.astype(np.float64)


def test_it_finds_the_reliabilities_behind_overlapping_votes() -> None:
    sensitivity = np.array([0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.9, 0.75])
    specificity = np.array([0.9, 0.6, 0.85, 0.95, 0.7, 0.65, 0.8, 0.9])
    user, item, up, _ = overlapping(sensitivity, specificity, 3000, 5, seed=1)
    coins = dawid_skene(user, item, up)
    assert np.abs(coins.sensitivity - sensitivity).max() < 0.05
    assert np.abs(coins.specificity - specificity).max() < 0.05
    assert abs(coins.prevalence - 0.6) < 0.04


def test_it_is_right_more_often_than_the_majority() -> None:
    sensitivity = np.array([0.97, 0.95, 0.95] + [0.55] * 7)
    user, item, up, truth = overlapping(sensitivity, sensitivity, 2000, 7, seed=2)
    majority = np.bincount(item, up) / np.bincount(item) > 0.5
    found = dawid_skene(user, item, up).truth() > 0.5
    assert (found == truth).mean() > (majority == truth).mean() + 0.1


def test_known_answers_turn_what_a_lying_majority_would_settle() -> None:
    sensitivity = np.array([0.9] * 3 + [0.1] * 5)
    user, item, up, truth = overlapping(sensitivity, sensitivity, 600, 6, seed=3)
    alone = dawid_skene(user, item, up)
    helped = dawid_skene(user, item, up, known={i: bool(truth[i]) for i in range(60)})
    assert (alone.truth() > 0.5).tolist() != truth.tolist()
    assert ((alone.truth() > 0.5) == truth).mean() < 0.5
    assert ((helped.truth()[60:] > 0.5) == truth[60:]).mean() > 0.9
    assert np.abs(helped.sensitivity - sensitivity).max() < 0.1
    assert (helped.truth()[:60].round() == truth[:60]).all()


def test_who_judged_little_counts_as_average() -> None:
    sensitivity = np.full(6, 0.9)
    user, item, up, _ = overlapping(sensitivity, sensitivity, 400, 4, seed=4)
    user, item, up = np.append(user, 6), np.append(item, 0), np.append(up, 1.0 - up[item == 0].round().mean().round())
    coins = dawid_skene(user, item, up)
    assert abs(coins.sensitivity[6] - coins.sensitivity[:6].mean()) < 0.25
    assert abs(coins.specificity[6] - coins.specificity[:6].mean()) < 0.25


def test_what_others_say_leaves_ones_own_vote_out_but_not_a_known_answer() -> None:
    user, item = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 1, 1, 2, 2])
    up = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    coins = dawid_skene(user, item, up, known={2: False})
    others = without_own(coins, item, [2])
    assert others[0] < coins.truth()[0]
    assert others[2] > coins.truth()[1]
    assert others[4] == others[5] < 1e-6

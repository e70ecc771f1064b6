import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thumbwheel_learner.questions import acquisition
from thumbwheel_learner.questions.acquisition import ACQUISITIONS, Acquisition, Pool, acquire, scores
from thumbwheel_learner.questions.selection import BadPool

RNG = np.random.default_rng(0)
ACTIVE: tuple[Acquisition, ...] = tuple(a for a in ACQUISITIONS if a != "random")
CONVERSATIONS = [f"c{i // 3}" for i in range(60)]
PAIRS = np.array([(3 * c + a, 3 * c + b) for c in range(20) for a, b in ((0, 1), (0, 2), (1, 2))])


def pool(*, pairs: bool = False, seed: int = 0) -> Pool:
    """Twenty conversations of three answers, five members."""
    rng = np.random.default_rng(seed)
    return Pool(CONVERSATIONS, rng.normal(size=(5, 60)), rng.normal(size=(60, 4)), PAIRS if pairs else None)


def sampled(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_entropy_is_that_of_a_coin() -> None:
    found = acquisition.entropy(np.array([0.5, 0.0, 1.0, 0.25]))
    by_hand = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert found.tolist() == pytest.approx([math.log(2), 0.0, 0.0, by_hand])


def test_bald_is_the_entropy_of_the_mean_less_the_mean_entropy() -> None:
    found = acquisition.bald(np.array([[0.0, 0.5, 0.2], [1.0, 0.5, 0.6]]))

    def h(p: float) -> float:
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    assert found.tolist() == pytest.approx([math.log(2), 0.0, h(0.4) - (h(0.2) + h(0.6)) / 2])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(1, 5))
def test_bald_is_nothing_where_members_agree(probabilities: list[float], members: int) -> None:
    alike = np.tile(probabilities, (members, 1))
    assert acquisition.bald(alike) == pytest.approx(np.zeros(len(probabilities)), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1_000))
def test_members_can_teach_no_more_than_the_label_holds(seed: int) -> None:
    members = sampled(seed).random((4, 30))
    learned, label = acquisition.bald(members), acquisition.entropy(members.mean(axis=0))
    assert (learned >= 0).all()
    assert (learned <= label + 1e-12).all()
    assert (label <= math.log(2) + 1e-12).all()


def test_variance_is_over_members() -> None:
    found = acquisition.variance(np.array([[1.0, 2.0], [3.0, 2.0]]))
    assert found.tolist() == [1.0, 0.0]


def test_a_pair_is_asked_about_for_what_members_say_of_the_difference() -> None:
    members = np.array([[0.0, 5.0, 0.0], [4.0, 9.0, 0.0]])
    asked = Pool(["a"] * 3, members, np.eye(3), np.array([[0, 1], [0, 2], [1, 2]]), temperature=2.0)
    assert asked.logits.tolist() == [[-2.5, 0.0, 2.5], [-2.5, 2.0, 4.5]]
    assert scores(asked, "variance", sampled()).tolist() == [0.0, 1.0, 1.0]
    assert scores(asked, "bald", sampled())[0] == pytest.approx(0.0)
    assert asked.probabilities[0] == pytest.approx(1 / (1 + math.exp(2.5)))
    assert asked.vectors.tolist() == [[1, -1, 0], [1, 0, -1], [0, 1, -1]]


def test_a_single_answer_is_asked_about_on_the_calibrated_scale() -> None:
    asked = Pool(["a", "b"], np.array([[1.0, 0.0], [3.0, 0.0]]), np.eye(2), offset=2.0, temperature=4.0)
    assert asked.logits.tolist() == [[0.75, 0.5], [1.25, 0.5]]
    assert asked.probabilities.tolist() == pytest.approx([1 / (1 + math.exp(-1.0)), 1 / (1 + math.exp(-0.5))])
    assert scores(asked, "entropy", sampled()).argmax() == 1


def test_two_members_propose_their_best_answers_for_a_duel() -> None:
    members = np.array([[9.0, 1.0, 0.0, 5.0, 4.0], [0.0, 9.0, 1.0, 5.0, 4.0]])
    pairs = np.array([[0, 1], [0, 2], [2, 1], [3, 4]])
    found = acquisition.double_thompson(members, np.array([7, 7, 7, 2, 2]), pairs, sampled())
    assert found.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_duels_follow_how_many_members_like_an_answer_best() -> None:
    members = np.array([[9, 1, 0], [9, 1, 0], [0, 9, 1], [0, 0, 9]], dtype=float)
    pairs = np.array([[0, 1], [0, 2], [1, 2]])
    rng = sampled()
    shares = np.mean(
        [acquisition.double_thompson(members, np.zeros(3, dtype=int), pairs, rng) for _ in range(4000)], axis=0
    )
    one_two = 1 / 2 * 1 / 2 + 1 / 4 * 2 / 3
    assert shares.tolist() == pytest.approx([one_two, one_two, 1 / 4 * 1 / 3 * 2], abs=0.03)


def test_without_pairs_either_proposal_may_be_asked_about() -> None:
    members = np.array([[9.0, 1.0, 0.0, 5.0, 4.0], [0.0, 9.0, 1.0, 5.0, 4.0]])
    found = acquisition.double_thompson(members, np.array([0, 0, 0, 1, 1]), None, sampled())
    assert found.tolist() == [1.0, 1.0, 0.0, 1.0, 0.0]


def test_a_duel_needs_two_members() -> None:
    with pytest.raises(BadPool, match="members: 1"):
        acquisition.double_thompson(np.ones((1, 2)), np.zeros(2, dtype=int), np.array([[0, 1]]), sampled())


def test_d_optimality_is_the_gain_in_the_log_determinant() -> None:
    vectors, weights = RNG.normal(size=(6, 3)), RNG.uniform(0.05, 0.25, size=6)
    root = RNG.normal(size=(3, 3))
    precision = root @ root.T + np.eye(3)
    found = acquisition.d_optimal(vectors, weights, precision)
    before = np.linalg.slogdet(precision)[1]
    by_hand = [
        np.linalg.slogdet(precision + w * np.outer(x, x))[1] - before for x, w in zip(vectors, weights, strict=True)
    ]
    assert found.tolist() == pytest.approx(by_hand)


def test_what_is_known_already_is_worth_less() -> None:
    asked = Pool(["a", "b"], np.zeros((2, 2)), np.eye(2))
    known = np.diag([100.0, 1.0])
    assert scores(asked, "d_optimal", sampled()).tolist() == pytest.approx([math.log(1.25)] * 2)
    assert scores(asked, "d_optimal", sampled(), known).tolist() == pytest.approx([math.log(1.0025), math.log(1.25)])


def test_random_scores_are_even_and_seeded() -> None:
    found = acquisition.random(4000, sampled(3))
    assert found.tolist() == acquisition.random(4000, sampled(3)).tolist()
    assert np.quantile(found, [0.25, 0.5, 0.75]).tolist() == pytest.approx([0.25, 0.5, 0.75], abs=0.03)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", ACQUISITIONS)
def test_a_batch_is_the_same_for_the_same_seed_and_another_for_another(name: Acquisition, pairs: bool) -> None:
    batches = [acquire(pool(pairs=pairs), name, budget=10, seed=seed) for seed in (4, 4, 5)]
    assert batches[0].positions.tolist() == batches[1].positions.tolist()
    assert batches[0].positions.tolist() != batches[2].positions.tolist()


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", ACQUISITIONS)
def test_a_conversation_is_asked_about_once(name: Acquisition, pairs: bool) -> None:
    asked = pool(pairs=pairs)
    batch = acquire(asked, name, budget=15, seed=1, random_share=0.2)
    assert len(batch.positions) == 15
    assert len(set(asked.asked_of[batch.positions].tolist())) == 15
    assert int(batch.random.sum()) == (15 if name == "random" else 3)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_a_budget_larger_than_the_pool_asks_about_every_conversation(name: Acquisition) -> None:
    batch = acquire(pool(pairs=True), name, budget=1_000, seed=1)
    assert len(batch.positions) == len(batch.random) == 20


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_nothing_to_ask_about_gives_an_empty_batch(name: Acquisition) -> None:
    empty = Pool([], np.zeros((2, 0)), np.zeros((0, 3)))
    assert acquire(empty, name, budget=5, seed=0).positions.tolist() == []
    assert acquire(pool(), name, budget=0, seed=0).positions.tolist() == []


@pytest.mark.parametrize("name", ACTIVE)
def test_beyond_the_random_slice_the_best_questions_are_taken(name: Acquisition) -> None:
    """With few questions, far apart, the first that is chosen has the highest score outside the slice."""
    asked = Pool([f"c{i}" for i in range(12)], sampled(2).normal(size=(3, 12)), 10 * np.eye(12))
    batch = acquire(asked, name, budget=4, seed=3)
    worth = scores(asked, name, np.random.default_rng([3, 1]))
    left = [i for i in range(12) if i not in batch.positions[batch.random]]
    assert worth[batch.positions[~batch.random][0]] == pytest.approx(max(worth[i] for i in left))


@pytest.mark.parametrize("name", ACTIVE)
def test_two_of_a_kind_are_not_asked_about_together(name: Acquisition) -> None:
    """Every question is there twice, in two conversations: half of the pool asks everything."""
    rng = np.random.default_rng(1)
    members, features = np.tile(rng.normal(size=(5, 10)), 2), np.tile(3 * np.eye(10), (2, 1))
    twins = Pool(list(range(20)), members, features)
    for seed in range(10):
        batch = acquire(twins, name, budget=8, seed=seed, random_share=0.01)
        assert len({int(i) % 10 for i in batch.positions}) == 8


def test_a_pair_and_its_mirror_image_are_the_same_question() -> None:
    features = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0], [4.0, 5.0], [0.0, 0.0], [0.0, 0.7]])
    members = np.array([[0.0, 2.0, 2.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    mirrored = Pool(["a", "a", "b", "b", "c", "c"], members, features, np.array([[0, 1], [2, 3], [4, 5]]))
    for seed in range(5):
        batch = acquire(mirrored, "variance", budget=2, seed=seed, random_share=0.1)
        assert set(batch.positions.tolist()) != {0, 1}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda: Pool(["a"], np.zeros((2, 2)), np.zeros((1, 3))), "members: the shape"),
        (lambda: Pool(["a"], np.zeros((0, 1)), np.zeros((1, 3))), "members: 0 of them"),
        (lambda: Pool(["a"], np.full((1, 1), np.nan), np.zeros((1, 3))), "not finite"),
        (lambda: Pool(["a"], np.zeros((1, 1)), np.zeros(3)), "features: the shape"),
        (lambda: Pool(["a"], np.zeros((1, 1)), np.zeros((1, 3)), temperature=0.0), "temperature"),
        (lambda: Pool(["a", "b"], np.zeros((1, 2)), np.eye(2), np.array([[0, 1]])), "same conversation"),
        (lambda: Pool(["a", "a"], np.zeros((1, 2)), np.eye(2), np.array([[1, 1]])), "two different answers"),
        (lambda: Pool(["a", "a"], np.zeros((1, 2)), np.eye(2), np.array([[0, 2]])), "pairs: values"),
        (lambda: acquisition.entropy(np.array([1.1])), "probabilities: values"),
        (lambda: acquisition.bald(np.zeros((0, 3))), "members: 0 of them"),
        (lambda: acquisition.variance(np.zeros(3)), "members: the shape"),
        (lambda: acquire(pool(), "guess", budget=1, seed=0), "'guess'"),  # pyright: ignore[reportArgumentType]
        (lambda: acquire(pool(), "bald", budget=1, seed=-1), "seed -1"),
        (lambda: acquire(pool(), "d_optimal", budget=1, seed=0, precision=-np.eye(4)), "positive definite"),
        (lambda: acquire(pool(), "d_optimal", budget=1, seed=0, precision=np.eye(3)), "precision: the shape"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(broken, message: str) -> None:
    with pytest.raises(BadPool, match=message):
        broken()

import numpy as np
import pytest

from thumbwheel_learner.questions.selection import BadPool, Design, Diverse, Selection, best, select

FAR = 10 * np.eye(40)


def chosen(scores: np.ndarray, budget: int, seed: int = 0, share: float = 0.2) -> Selection:
    values = Diverse(scores, FAR[: len(scores)])
    return select(values, np.arange(len(scores)), budget=budget, seed=seed, random_share=share)


@pytest.mark.parametrize(
    ("budget", "share", "size"), [(10, 0.2, 2), (30, 0.1, 3), (11, 0.2, 3), (1, 0.2, 1), (5, 1.0, 5)]
)
def test_the_random_slice_has_its_share_rounded_up(budget: int, share: float, size: int) -> None:
    batch = chosen(np.arange(40.0), budget, share=share)
    assert batch.random.tolist() == [True] * size + [False] * (budget - size)


def test_the_random_slice_does_not_depend_on_the_scores() -> None:
    one, other = chosen(np.arange(40.0), 10), chosen(np.arange(40.0)[::-1], 10)
    assert one.positions[one.random].tolist() == other.positions[other.random].tolist()
    assert one.positions[~one.random].tolist() != other.positions[~other.random].tolist()


def test_the_random_slice_draws_conversations_evenly_and_answers_of_each_evenly() -> None:
    conversations = np.array([0, 0, 0, 0, 1, 2, 2])
    drawn = np.zeros(7)
    for seed in range(3000):
        batch = select(Diverse(np.arange(7.0), np.eye(7)), conversations, budget=1, seed=seed)
        drawn[batch.positions] += 1 / 3000
    assert drawn.tolist() == pytest.approx([1 / 12] * 4 + [1 / 3] + [1 / 6] * 2, abs=0.03)


def test_the_rest_is_the_best_in_order() -> None:
    scores = np.random.default_rng(0).random(40)
    batch = chosen(scores, 10)
    left = [i for i in np.argsort(-scores) if i not in batch.positions[:2]]
    assert batch.positions[2:].tolist() == left[:8]


def test_equal_scores_are_decided_at_random() -> None:
    first = {int(chosen(np.ones(40), 2, seed=seed).positions[1]) for seed in range(60)}
    assert len(first) > 20


def test_a_near_duplicate_is_worth_less_and_a_stranger_keeps_its_score() -> None:
    vectors = np.array([[0.0, 0.0], [0.01, 0.0], [3.0, 4.0], [0.0, 0.0]])
    values = Diverse(np.array([1.0, 2.0, 3.0, 4.0]), vectors)
    values.take(0)
    assert values.values().tolist() == pytest.approx([0.0, 0.0, 3.0, 0.0], abs=1e-3)


def test_nearness_follows_its_formula() -> None:
    vectors = np.array([[0.0], [1.0], [4.0]])
    mean_square = np.mean([(a - b) ** 2 for a in vectors[:, 0] for b in vectors[:, 0]])
    values = Diverse(np.ones(3), vectors, bandwidth=0.5)
    values.take(0)
    expected = 1 - np.exp(-(vectors[:, 0] ** 2) / (2 * 0.25 * mean_square))
    assert values.values().tolist() == pytest.approx(expected.tolist())


def test_questions_that_are_all_the_same_are_asked_all_the_same() -> None:
    values = Diverse(np.ones(5), np.full((5, 3), 0.1))
    batch = select(values, np.arange(5), budget=3, seed=0)
    assert len(set(batch.positions.tolist())) == 3
    assert values.values().tolist() == [0.0] * 5


def test_updated_gains_equal_those_computed_anew() -> None:
    rng = np.random.default_rng(0)
    vectors, weights = rng.normal(size=(9, 4)), rng.uniform(0.01, 0.25, size=9)
    design, precision = Design(vectors, weights), np.eye(4)
    for index in (3, 3, 7, 0):
        design.take(index)
        precision = precision + weights[index] * np.outer(vectors[index], vectors[index])
        assert design.values() == pytest.approx(Design(vectors, weights, precision).values())


def test_a_greedy_design_covers_every_direction_before_it_repeats_one() -> None:
    vectors = np.repeat(np.eye(4) * np.array([4.0, 3.0, 2.0, 1.0]), 5, axis=0)
    for seed in range(10):
        batch = select(Design(vectors), np.arange(20), budget=4, seed=seed, random_share=0.01)
        assert {0, 1, 2} <= set((batch.positions // 5).tolist())


def test_the_random_slice_counts_as_known_to_the_design() -> None:
    vectors = np.repeat(np.eye(2), 10, axis=0)
    for seed in range(10):
        batch = select(Design(vectors), np.arange(20), budget=2, seed=seed)
        assert sorted((batch.positions // 10).tolist()) == [0, 1]


@pytest.mark.parametrize(
    "broken",
    [
        lambda: chosen(np.ones(3), -1),
        lambda: chosen(np.ones(3), 2, seed=-1),
        lambda: chosen(np.ones(3), 2, share=0.0),
        lambda: chosen(np.ones(3), 2, share=1.1),
        lambda: select(Diverse(np.ones(3), np.eye(3)), np.arange(4), budget=1, seed=0),
        lambda: Diverse(np.array([-1.0]), np.ones((1, 1))),
        lambda: Diverse(np.ones(2), np.ones((3, 1))),
        lambda: Diverse(np.ones(1), np.ones((1, 1)), bandwidth=0.0),
        lambda: Design(np.ones((2, 2)), np.array([0.1, 0.3])),
        lambda: Design(np.ones((2, 2)), precision=np.zeros((2, 2))),
    ],
)
def test_what_makes_no_sense_is_refused(broken) -> None:
    with pytest.raises(BadPool):
        broken()


def test_without_a_slice_the_best_come_first_one_of_each_conversation() -> None:
    scores, conversations = np.array([0.1, 0.9, 0.8, 0.7, 0.2]), np.array([0, 1, 1, 2, 3])
    found = best(Diverse(scores, FAR[:5]), conversations, budget=3, seed=0)
    assert found.tolist() == [1, 3, 4]
    assert len(best(Diverse(scores, FAR[:5]), conversations, budget=9, seed=0)) == 4
    assert best(Diverse(np.zeros(0), np.zeros((0, 2))), np.zeros(0, dtype=np.intp), budget=3, seed=0).tolist() == []


def test_a_negative_budget_is_refused_without_a_slice_too() -> None:
    with pytest.raises(BadPool, match="budget -1"):
        best(Diverse(np.ones(2), FAR[:2]), np.arange(2), budget=-1, seed=0)

import numpy as np

from thumbwheel_learner.measures import Array, Indices
from thumbwheel_learner.voters.agreement import agreement, discoveries, evidence_against


def voting(slopes: Array, votes: int, seed: int) -> tuple[Indices, Array, Array]:
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(len(slopes)), votes)
    chances = rng.choice([0.2, 0.8], len(user))
    up = rng.random(len(user)) < 0.5 + slopes[user] * (chances - 0.5)
    return user, up.astype(np.float64), chances


def test_slopes_are_found_and_shrink_towards_the_population() -> None:
    slopes = np.tile([1.0, 0.8, 0.0], 30)
    user, up, chances = voting(slopes, 200, seed=1)
    found = agreement(user, up, chances, 0.5, np.ones(len(slopes)))
    assert abs(found.population - 0.6) < 0.05
    assert abs(found.spread - slopes.std()) < 0.08
    assert np.abs(found.shrunk - slopes).mean() < np.abs(found.slope - slopes).mean() < 0.12
    reliable = found.reliability()
    assert reliable[::3].min() > 0.9
    assert reliable[2::3].max() < 0.45


def test_a_few_votes_leave_everybody_near_the_average() -> None:
    user, up, chances = voting(np.ones(100), 2, seed=2)
    found = agreement(user, up, chances, 0.5, np.ones(100))
    assert found.slope.std() > 0.8
    assert found.reliability().mean() > 0.85


def test_when_others_say_nothing_nobody_is_the_less_reliable() -> None:
    user, up, _ = voting(np.ones(50), 10, seed=3)
    found = agreement(user, up, np.full(len(up), 0.5), 0.5, np.ones(50))
    assert found.reliability().tolist() == [1.0] * 50
    assert (found.against <= 0).all()


def test_loud_contradiction_does_not_set_the_populations_figures_when_it_is_not_trusted() -> None:
    slopes = np.array([1.0] * 40 + [-1.0] * 20)
    user, up, chances = voting(slopes, 100, seed=4)
    trust = np.where(slopes > 0, 1.0, 0.01)
    assert agreement(user, up, chances, 0.5, np.ones(60)).population < 0.5
    assert agreement(user, up, chances, 0.5, trust).population > 0.9


def test_the_evidence_against_random_voters_never_gets_far_however_often_one_looks() -> None:
    rng = np.random.default_rng(5)
    highest = np.full(2000, -np.inf)
    ups, chances = rng.random((2000, 300)) < 0.6, rng.uniform(0.1, 0.95, (2000, 300))
    for seen in (10, 30, 100, 200, 300):
        user = np.repeat(np.arange(2000), seen)
        up = ups[:, :seen].astype(np.float64).ravel()
        now = evidence_against(user, up, chances[:, :seen].ravel(), 0.6, 2000)
        highest = np.maximum(highest, now)
    assert (highest >= np.log(20)).mean() <= 0.05
    assert (highest >= np.log(5)).mean() > 0.0


def test_evidence_grows_against_who_contradicts_and_falls_for_who_agrees() -> None:
    user, up, chances = voting(np.array([-1.0, 1.0]), 150, seed=6)
    against = evidence_against(user, up, chances, 0.5, 2)
    assert against[0] > np.log(1e4)
    assert against[1] < 0


def test_evidence_is_judged_among_all_that_was_looked_at() -> None:
    strong, weak = np.log(3000.0), np.log(50.0)
    assert discoveries([strong, 0.0, 0.0], 0.01).tolist() == [0]
    assert discoveries([weak, 0.0, 0.0], 0.01).tolist() == []
    assert discoveries([strong] + [0.0] * 99, 0.01).tolist() == []
    assert discoveries([strong] * 10 + [0.0] * 90, 0.01).tolist() == list(range(10))

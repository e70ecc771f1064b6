import numpy as np

from thumbwheel_learner.gate.regressions import Part, corrected, part


def some(name: str, mean: float, deviation: float = 0.03, prompts: int = 40) -> Part:
    draws = mean + deviation * np.random.default_rng(len(name)).standard_normal(2000)
    return part(name, mean, draws, prompts)


def test_a_clear_fall_is_seen_among_many_things_and_a_slight_one_is_not() -> None:
    found = corrected([some("orders", 0.52), some("refunds", 0.35), some("late", 0.46), some("size", 0.5)], 0.05)
    assert [p.name for p in found if p.fell] == ["refunds"]


def test_the_more_things_are_looked_at_the_clearer_a_fall_must_be() -> None:
    alone = corrected([some("refunds", 0.44)], 0.05)
    among = corrected([some("refunds", 0.44), *(some(f"{n}", 0.5) for n in range(20))], 0.05)
    assert alone[0].fell
    assert not among[0].fell


def test_things_that_are_no_worse_are_seldom_said_to_fall() -> None:
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        means = 0.5 + 0.03 * rng.standard_normal(8)
        wrong += any(p.fell for p in corrected([some(f"{n}", m) for n, m in enumerate(means)], 0.05))
    assert 4 <= wrong <= 32


def test_where_nothing_scatters_only_what_is_lower_is_a_fall() -> None:
    flat = np.full(50, 0.5)
    assert part("same", 0.5, flat, 20).p == 1.0
    assert part("worse", 0.4, flat - 0.1, 20).p == 0.0
    assert part("one", 0.4, flat, 1).p == 0.0

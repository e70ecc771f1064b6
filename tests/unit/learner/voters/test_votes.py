from msgspec.structs import replace
from tests.learner_models import pair, thumb

from thumbwheel_learner.voters.votes import item_key, loads, votes_of


def test_thumbs_flags_and_clear_ratings_are_votes() -> None:
    up = thumb(0, "q", "a", up=True, user="ann")
    flag = replace(thumb(1, "q", "b", up=False, user="ann"), kind="flag")
    rated = [replace(thumb(n, "q", f"r{n}", up=True, user="ann"), kind="rating", value=float(n)) for n in range(1, 6)]
    found = votes_of([*rated, up, flag])
    assert {v.text: v.up for v in found} == {
        "a": True, "b": False, "r1": False, "r2": False, "r4": True, "r5": True,
    }  # fmt: skip


def test_of_a_users_votes_on_one_answer_the_last_one_counts() -> None:
    early, late = thumb(1, "q", "a", up=True, user="ann"), thumb(2, "q", "a", up=False, user="ann")
    other = thumb(3, "q", "a", up=True, user="ben")
    found = votes_of([late, other, early])
    assert [(v.user, v.up) for v in found] == [("ann", False), ("ben", True)]
    assert found[0].item == found[1].item == item_key(other)


def test_the_same_answer_to_another_question_is_another_item() -> None:
    assert item_key(thumb(0, "q", "a", up=True)) != item_key(thumb(0, "p", "a", up=True))


def test_corrections_are_work_and_no_load() -> None:
    corrected = replace(pair(2, "q", "x", "y"), origin="correction", user="agent")
    compared = replace(pair(3, "q", "x", "y"), user="ann")
    assert loads([thumb(0, "q", "a", up=True, user="ann")], [corrected, compared]) == {"ann": 2}

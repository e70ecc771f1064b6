import pytest

from thumbwheel_demo.diversity import distinct_answers, distinct_bigrams


def test_answers_that_are_all_alike_are_as_little_diverse_as_can_be():
    assert distinct_answers(["Yes.", "Yes.", "Yes.", "Yes."]) == 0.5
    assert distinct_answers(["Yes.", "No.", "Yes."]) == pytest.approx((1 + 0.5 + 1) / 3)
    assert distinct_answers(["Yes."]) == 1.0
    with pytest.raises(ValueError, match="no answers"):
        distinct_answers([])


def test_word_pairs_count_across_answers_and_never_span_two():
    assert distinct_bigrams(["it is late", "it is gone"]) == pytest.approx(3 / 4)
    assert distinct_bigrams(["It is late.", "it is late"]) == pytest.approx(2 / 4)
    assert distinct_bigrams(["on and on and on"]) == pytest.approx(2 / 4)
    assert distinct_bigrams(["Yes.", "No."]) == 0.0


def test_to_have_more_answers_of_one_kind_is_neither_more_nor_less_diverse():
    two = ["it is late", "it is gone"]
    assert distinct_bigrams([*two, "it was lost"]) == pytest.approx((3 / 4 + 1 + 1) / 3)
    assert distinct_bigrams(["it is late"] * 2) == distinct_bigrams(["it is late"] * 8)
    assert distinct_answers(["Yes."] * 2) == distinct_answers(["Yes."] * 8)

import pytest

from thumbwheel_demo.diversity import distinct_answers, distinct_bigrams


def test_answers_that_are_all_alike_are_as_little_diverse_as_can_be():
    assert distinct_answers(["Yes.", "Yes.", "Yes.", "Yes."]) == 0.25
    assert distinct_answers(["Yes.", "No.", "Yes.", "Perhaps."]) == 0.75
    with pytest.raises(ValueError, match="no answers"):
        distinct_answers([])


def test_word_pairs_count_across_answers_and_never_span_two():
    assert distinct_bigrams(["it is late", "it is gone"]) == pytest.approx(3 / 4)
    assert distinct_bigrams(["It is late.", "it is late"]) == pytest.approx(2 / 4)
    assert distinct_bigrams(["on and on and on"]) == pytest.approx(2 / 4)
    assert distinct_bigrams(["Yes.", "No."]) == 0.0

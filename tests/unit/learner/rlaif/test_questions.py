"""Which pairs there are to ask about."""

import msgspec
from tests.learner_models import logged, pair

from thumbwheel_learner.dataset.examples import LoggedPrompt
from thumbwheel_learner.rlaif.questions import digests, human_pairs, logged_pairs


def answered(n: int, text: str, answer: str, *others: str) -> LoggedPrompt:
    return msgspec.structs.replace(logged(n, text), answer=answer, other_answers=list(others))


def test_a_question_is_the_same_whichever_answer_won_and_whoever_says_so() -> None:
    one, other = human_pairs([pair(1, "q", "b", "a"), pair(2, "q", "a", "b")])
    assert one.question.digest == other.question.digest
    assert (one.question.first, one.question.second) == ("a", "b")
    assert (one.user, one.prefers_first, other.user, other.prefers_first) == ("user-2", True, "user-1", False)
    assert len(digests([pair(1, "q", "a", "b"), pair(1, "q", "a", "c"), pair(1, "r", "a", "b")])) == 3


def test_peoples_newest_pairs_come_first_and_ties_not_at_all() -> None:
    pairs = [pair(1, "q", "a", "b"), pair(3, "q", "a", "c"), pair(2, "q", "a", "d", tie=True), pair(4, "q", "a", "a")]
    assert [h.question.second for h in human_pairs(pairs)] == ["c", "b"]
    assert len(digests(pairs)) == 4


def test_choices_of_one_turn_and_answers_to_equal_prompts_make_pairs() -> None:
    prompts = [answered(1, "q", "a", "b"), answered(2, "q", "c"), answered(3, "r", "a"), answered(4, "r", "a")]
    found = logged_pairs(prompts, set())
    assert [(q.first, q.second, q.event_ids) for q in found] == [
        ("b", "c", {"event-1", "event-2"}),
        ("a", "b", {"event-1"}),
    ]
    assert (found[0].conversation, found[0].created_ms) == ("conversation-2", 2)


def test_answers_of_nothing_make_no_pair() -> None:
    assert logged_pairs([answered(1, "q", "a", "", "  "), answered(2, "q", "a")], set()) == []


def test_one_prompt_does_not_take_all_the_questions() -> None:
    prompts = [answered(n, "hello", f"answer {n}") for n in range(9)] + [answered(9, "q", "a", "b")]
    assert [q.created_ms for q in logged_pairs(prompts, set(), per_prompt=2)] == [9, 8, 7]


def test_what_is_judged_is_not_asked_and_a_later_answer_leaves_earlier_questions_as_they_are() -> None:
    prompts = [answered(1, "q", "a"), answered(2, "q", "b"), answered(3, "q", "c")]
    newest, oldest = logged_pairs(prompts, set())
    assert logged_pairs(prompts, {newest.digest}) == [oldest]
    assert {newest.digest, oldest.digest} <= {q.digest for q in logged_pairs([*prompts, answered(4, "q", "a")], set())}

from typing import Literal

from msgspec.structs import replace
from tests.learner_models import pair, said, snapshot

from thumbwheel_learner.dataset.examples import Critique, Pair
from thumbwheel_learner.refinement.requests import ASK, requests_of


def critique(n: int, text: str, answer: str, words: str, user: str = "ann") -> Critique:
    return Critique(
        messages=said(text),
        answer=answer,
        text=words,
        user=user,
        conversation_id=f"conversation-{n}",
        created_ms=n,
        event_id=f"event-{n}",
    )


def rewritten(
    n: int, text: str, better: str, answer: str, origin: Literal["correction", "comparison"] = "correction"
) -> Pair:
    return replace(pair(n, text, better, answer), origin=origin)


def test_a_correction_is_a_lesson_and_the_critiques_of_its_answer_are_read_with_it() -> None:
    given = snapshot(pairs=[rewritten(3, "where", "sorry", "rude")])
    critiques = [critique(2, "where", "rude", "too rude"), critique(1, "where", "rude", "not polite")]
    [lesson], asked = requests_of(replace(given, critiques=critiques))
    assert (lesson.better, lesson.request.answer, lesson.request.critique) == ("sorry", "rude", "not polite\ntoo rude")
    assert asked == []


def test_what_was_only_criticised_is_asked_once_however_many_said_so() -> None:
    critiques = [critique(n, "where", "rude", words) for n, words in enumerate(("too rude", "bad", "too rude"))]
    lessons, [request] = requests_of(replace(snapshot(), critiques=[*critiques, critique(9, "now", "yes", "no")][:3]))
    assert lessons == []
    assert request.critique == "too rude\nbad"


def test_an_answer_in_another_conversation_is_another_answer() -> None:
    given = snapshot(pairs=[rewritten(1, "where", "sorry", "rude")])
    _, asked = requests_of(replace(given, critiques=[critique(2, "when", "rude", "too rude")]))
    assert [request.messages for request in asked] == [said("when")]


def test_comparisons_teach_nothing_about_rewriting() -> None:
    assert requests_of(snapshot(pairs=[rewritten(1, "where", "sorry", "rude", "comparison")])) == ([], [])


def test_the_refiner_reads_the_conversation_the_answer_and_the_critique() -> None:
    critiques = [critique(1, "where is it", "no", "say please")]
    _, [request] = requests_of(replace(snapshot(), critiques=critiques))
    assert [(m["role"], m["content"]) for m in request.as_messages()] == [
        ("user", "where is it"),
        ("assistant", "no"),
        ("user", f"say please\n{ASK}"),
    ]
    assert replace(request, critique="").as_messages()[-1]["content"] == ASK

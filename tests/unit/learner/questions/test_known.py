from pathlib import Path

import pytest
from tests.learner_models import logged, thumb

from thumbwheel_learner.questions.known import BadKnownAnswers, known_items, read_known
from thumbwheel_learner.voters.votes import item_key


def test_known_answers_are_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "known.jsonl"
    file.write_text('{"completion_id": "c-1", "value": "up"}\n\n{"completion_id": "c-2", "value": "down"}\n')
    assert read_known(file) == {"c-1": True, "c-2": False}
    assert read_known(None) == {}


@pytest.mark.parametrize("line", ["up", '{"completion_id": "c-1"}', '{"completion_id": "c-1", "value": "maybe"}'])
def test_a_line_that_does_not_read_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "known.jsonl"
    file.write_text(f'{{"completion_id": "c-1", "value": "up"}}\n{line}\n')
    with pytest.raises(BadKnownAnswers, match="line 2"):
        read_known(file)
    with pytest.raises(BadKnownAnswers, match="THUMBWHEEL_QUESTIONS_KNOWN"):
        read_known(tmp_path / "absent")


def test_a_known_answer_is_found_by_what_votes_on_it_are_compared_by() -> None:
    prompts = [logged(1, "where is my order"), logged(2, "late")]
    vote = thumb(7, "where is my order", "yes", up=True)
    assert known_items(prompts, {"completion-1": False, "gone": True}) == {item_key(vote): False}

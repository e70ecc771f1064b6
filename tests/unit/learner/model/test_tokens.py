from pathlib import Path

import pytest
import torch
from tests.learner_models import make_base, said

from thumbwheel_learner.model.tokens import ChatTokenizer, by_length, fit, make_batch


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    return ChatTokenizer.load(make_base(tmp_path_factory.mktemp("base")))


def test_prompt_ends_with_the_header_that_makes_the_assistant_speak(tokens: ChatTokenizer) -> None:
    assert tokens.prompt_ids(said("order late")) == [2, *tokens.text_ids("order late"), 4, 3]


def test_answer_ends_with_the_end_of_turn(tokens: ChatTokenizer) -> None:
    assert tokens.answer_ids("sorry") == [*tokens.text_ids("sorry"), tokens.end_id]
    assert tokens.end_id in tokens.stop_ids


def test_answer_ends_with_another_stop_token_where_the_model_cannot_say_the_first(tokens: ChatTokenizer) -> None:
    first, other = tokens.end_id, next(i for i in range(5, 60) if i != tokens.end_id)
    both = frozenset({first, other})
    assert ChatTokenizer(tokens._tokenizer, both, can_say=lambda i: i == other).end_id == other
    assert ChatTokenizer(tokens._tokenizer, both, can_say=lambda i: False).end_id == first


def test_pad_token_is_never_a_stop_token(tokens: ChatTokenizer) -> None:
    inner = tokens._tokenizer  # the case of many models: pad is eos
    inner.pad_token = inner.eos_token
    try:
        assert ChatTokenizer(inner, tokens.stop_ids).pad_id not in tokens.stop_ids
    finally:
        inner.pad_token = "<pad>"


def test_model_without_a_template_gets_the_plain_one(tmp_path: Path) -> None:
    base = make_base(tmp_path)
    (base / "chat_template.jinja").unlink()
    tokens = ChatTokenizer.load(base)
    assert tokens.prompt_ids(said("order"))
    assert tokens.end_id == 4


def test_positions_and_masks_are_the_same_on_either_side() -> None:
    prompts, answers = [[5, 6, 7], [5]], [[8, 9], [10, 11, 4]]
    right = make_batch(prompts, answers, pad_id=0)
    left = make_batch(prompts, answers, pad_id=0, side="left", extra=2)
    assert right.attention is None
    assert left.attention is not None
    assert left.attention.tolist() == [[0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1]]
    assert left.positions.tolist() == [[0, 0, 0, 1, 2, 3, 4], [0, 0, 0, 0, 1, 2, 3]]
    for batch in (left, right):
        assert batch.targets.tolist() == [8, 9, 10, 11, 4]
        assert batch.mask.tolist() == [[True, True, False], [True, True, True]]
        assert batch.ids[torch.arange(2), batch.last].tolist() == [9, 4]
        assert batch.ids[batch.rows, batch.columns + 1].tolist() == batch.targets.tolist()


def test_unflatten_puts_every_token_in_its_row() -> None:
    batch = make_batch([[1], [1, 2]], [[3, 4, 5], [6]], pad_id=0)
    assert batch.unflatten(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]]


def test_batches_by_length_cover_everything_once_and_keep_the_limit() -> None:
    lengths = [5, 90, 7, 31, 64, 5, 12, 200]
    groups = list(by_length(lengths, 128, torch.Generator().manual_seed(1)))
    assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
    assert all(len(g) == 1 or max(lengths[i] for i in g) * len(g) <= 128 for g in groups)


def test_cutting_drops_the_far_end_of_the_prompt_first() -> None:
    assert fit([1, 2, 3, 4], [7, 8], 4) == ([3, 4], [7, 8])
    assert fit([1, 2], [5, 6, 7, 8], 3) == ([2], [5, 6])

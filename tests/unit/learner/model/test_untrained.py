import torch

from thumbwheel_learner.model.untrained import is_untrained


def test_a_token_among_many_like_it_was_never_learned() -> None:
    torch.manual_seed(0)
    head = torch.randn(200, 64)
    head[100:] = head[100] + 0.1 * torch.randn(100, 64)
    assert is_untrained(head, 150)
    assert not is_untrained(head, 3)


def test_a_few_near_synonyms_are_no_reason() -> None:
    torch.manual_seed(0)
    head = torch.randn(200, 64)
    head[10:18] = head[10] + 0.01 * torch.randn(8, 64)
    assert not is_untrained(head, 10)


def test_a_token_outside_the_head_cannot_be_said() -> None:
    assert is_untrained(torch.eye(4), 4)

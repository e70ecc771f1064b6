"""What is taken from a good answer for being like the other good ones."""

import torch

from thumbwheel_learner.ppo.diversity import resemblance


def test_equal_answers_resemble_each_other_wholly_and_other_ones_by_their_common_pairs() -> None:
    answers = [[1, 2, 3], [1, 2, 3], [1, 2, 4], [7, 8, 9]]
    assert resemblance(answers, torch.zeros(4), 4).tolist() == torch.tensor([0.5, 0.5, 1 / 3, 0.0]).tolist()


def test_only_a_prompts_better_answers_are_compared() -> None:
    answers = [[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3]]
    assert resemblance(answers, torch.tensor([1.0, 1.0, -1.0, -1.0]), 4).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert resemblance(answers, torch.tensor([1.0, 0.0, 0.0, 0.0]), 4).tolist() == [0.0] * 4, "a single better one"
    assert resemblance(answers, torch.tensor([1.0, 0.0, 1.0, 0.0]), 2).tolist() == [0.0] * 4, "to another prompt"


def test_answers_of_one_token_are_compared_as_they_are() -> None:
    assert resemblance([[5], [5], [6]], torch.zeros(3), 3).tolist() == [0.5, 0.5, 0.0]
    assert resemblance([[5], [5]], torch.zeros(2), 1).tolist() == [0.0, 0.0], "one answer to a prompt"

"""The pairs that DPO learns from: what people corrected, what they told apart, what the reward model ranks."""

from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor

from thumbwheel_demo.experiments.policy_training.dpo import AnswerPair
from thumbwheel_learner.dataset.examples import Messages, Snapshot
from thumbwheel_learner.model.tokens import ChatTokenizer, fit
from thumbwheel_learner.reward.labels import Row, prompt_key
from thumbwheel_learner.rollouts.engine import Rollout

MAX_LENGTH = 512
"""Tokens of prompt and answer together, as in SFT and the reward model."""


def corrected(snapshot: Snapshot, tokens: ChatTokenizer) -> list[AnswerPair]:
    """Every correction over the answer that it corrects."""
    return [_pair(tokens, p.messages, p.chosen, p.rejected) for p in snapshot.pairs if not p.tie]


def told_apart(snapshot: Snapshot, tokens: ChatTokenizer) -> list[AnswerPair]:
    """Every answer with a thumb up over every other answer to the very same messages with a thumb down."""
    by_prompt: dict[str, dict[float, dict[str, Messages]]] = defaultdict(lambda: {0.0: {}, 1.0: {}})
    for judged in snapshot.judged:
        if judged.kind == "thumb":
            by_prompt[prompt_key(judged.messages)][judged.value][judged.answer] = judged.messages
    return [
        _pair(tokens, messages, liked, other)
        for votes in by_prompt.values()
        for liked, messages in votes[1.0].items()
        for other in votes[0.0]
        if other != liked
    ]


def ranked(asked: Sequence[list[int]], answers: Sequence[Sequence[Rollout]], scores: Tensor) -> list[AnswerPair]:
    """The best over the worst of the finished answers to each prompt, where they differ; `scores` [P, K]."""
    pairs: list[AnswerPair] = []
    for ids, row, own in zip(asked, answers, scores, strict=True):
        order = sorted((k for k, rollout in enumerate(row) if rollout.finished), key=lambda k: float(own[k]))
        if len(order) > 1 and row[order[-1]].text != row[order[0]].text:
            chosen, rejected = row[order[-1]].token_ids, row[order[0]].token_ids
            pairs.append(AnswerPair(Row(list(ids), list(chosen)), Row(list(ids), list(rejected))))
    return pairs


def _pair(tokens: ChatTokenizer, messages: Messages, chosen: str, rejected: str) -> AnswerPair:
    prompt = tokens.prompt_ids(messages)
    rows = [Row(*fit(prompt, tokens.answer_ids(text), MAX_LENGTH)) for text in (chosen, rejected)]
    return AnswerPair(rows[0], rows[1])

"""Answers of the demo policy with what customers secretly think of them, as numbers that a linear model can read."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thumbwheel_demo.corpus.model import Split
from thumbwheel_demo.corpus.prompts import prompts
from thumbwheel_demo.experiments.chats import prompt_ids
from thumbwheel_demo.policy.weights import weights_dir
from thumbwheel_demo.satisfaction import judge
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.reward.frozen import read_frozen
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.likelihood import FEATURES
from thumbwheel_learner.rollouts.sampler import TransformersSampler

Array = NDArray[np.float64]
LIKELIHOODS = FEATURES
"""The first so many features are likelihoods, the others states."""


@dataclass(frozen=True)
class JudgedAnswers:
    """Every row one answer."""

    conversations: NDArray[np.int64]
    """[A] number of the conversation."""
    features: Array
    """[A, F] of the frozen policy."""
    scores: Array
    """[A] hidden satisfaction from 0 to 1."""
    satisfied: NDArray[np.bool_]
    """[A] whether every point of it holds."""

    def pairs(self) -> NDArray[np.intp]:
        """[P, 2] every two answers to the same conversation; answers of one are neighbours."""
        starts = np.flatnonzero(np.diff(self.conversations, prepend=-1))
        ends = [*starts[1:].tolist(), len(self.conversations)]
        found = [
            (a, b) for s, e in zip(starts.tolist(), ends, strict=True) for a in range(s, e) for b in range(a + 1, e)
        ]
        return np.array(found, dtype=np.intp).reshape(-1, 2)

    def some(self, count: int, rng: np.random.Generator) -> "JudgedAnswers":
        """`count` conversations at random, whole; all of them if there are no more."""
        return self.of(rng.permutation(np.unique(self.conversations))[:count])

    def of(self, conversations: NDArray[np.int64]) -> "JudgedAnswers":
        """Every answer to these."""
        return self._rows(np.flatnonzero(np.isin(self.conversations, conversations)))

    def few(self, most: int, rng: np.random.Generator) -> "JudgedAnswers":
        """Of every conversation `most` answers at random, or all that it has."""
        shuffled = rng.permutation(len(self.conversations))
        order = shuffled[np.argsort(self.conversations[shuffled], kind="stable")]
        starts = np.flatnonzero(np.diff(self.conversations[order], prepend=-1))
        place = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
        return self._rows(np.sort(order[place < most]))

    def _rows(self, rows: NDArray[np.intp]) -> "JudgedAnswers":
        return JudgedAnswers(self.conversations[rows], self.features[rows], self.scores[rows], self.satisfied[rows])

    def save(self, file: Path) -> None:
        """Write it whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial.npz")
        np.savez(
            partial,
            conversations=self.conversations,
            features=self.features.astype(np.float32),
            scores=self.scores,
            satisfied=self.satisfied,
        )
        partial.replace(file)

    @classmethod
    def load(cls, file: Path) -> "JudgedAnswers":
        """Read it back, features at single precision; raises `FileNotFoundError`."""
        with np.load(file) as held:
            return cls(held["conversations"], held["features"].astype(np.float64), held["scores"], held["satisfied"])


class FrozenPolicy:
    """The shipped policy, which answers at temperature 1 and is read from, and never changes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.model: PolicyModel = load_policy(folder or weights_dir())

    def answers(self, split: Split, count: int, each: int, seed: int, max_tokens: int = 96) -> JudgedAnswers:
        """`each` answers to `count` conversations of a split; the same seed gives the same ones."""
        scenarios = prompts(split, count, seed)
        ids = [prompt_ids(self.model, s) for s in scenarios]
        sampler = TransformersSampler(self.model, batch_size=256)
        rollouts = sampler.sample(None, ids, n=each, max_tokens=max_tokens, temperature=1.0, seed=seed)
        texts = [[rollout.text for rollout in group] for group in rollouts]
        verdicts = [judge(s, text) for s, group in zip(scenarios, texts, strict=True) for text in group]
        rows = [
            Row(prompt, self.model.tokens.answer_ids(text))
            for prompt, group in zip(ids, texts, strict=True)
            for text in group
        ]
        return JudgedAnswers(
            conversations=np.repeat(np.arange(count), each),
            features=read_frozen(self.model, rows),
            scores=np.array([v.score for v in verdicts]),
            satisfied=np.array([v.satisfied for v in verdicts]),
        )

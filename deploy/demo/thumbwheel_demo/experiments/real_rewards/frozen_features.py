"""What a frozen pretrained model makes of an answer: mean states of some layers, and how likely it finds the answer."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (torch and transformers are partly untyped; what leaves this file is typed)

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from thumbwheel_demo.experiments.real_rewards.preferences import Question

Array = NDArray[np.float64]
LIKELIHOODS = 6
"""The last so many features: of the answer's log-probabilities mean, root mean square, smallest, and means of both
halves; the mean entropy of what was expected."""


class Reading(Struct, frozen=True, kw_only=True):
    """How answers are read."""

    layers: tuple[int, ...] = (6, 9)
    """States after so many blocks; those above the last one are not run."""
    prompt_tokens: int = 32
    """The last ones of longer prompts."""
    answer_tokens: int = 64
    """The first ones of longer answers."""
    vocabulary: int = 8192
    """Where all blocks are run, likelihoods are read, too. They are normalised over the tokens most
    frequent in the answers and the token itself: a quarter of a million others would cost more than the model."""
    batch: int = 7
    """Answers to one prompt that are read at once."""
    questions_per_file: int = 10


class FrozenReader:
    """A causal language model that reads each prompt once for all of its answers; needs right-padded answers only."""

    def __init__(self, folder: Path, reading: Reading, common: Sequence[str]) -> None:
        """`common`: texts whose most frequent tokens likelihoods are normalised over."""
        self.reading = reading
        self._tokens: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        depth = max(reading.layers)
        self._whole = depth == len(self._model.model.layers)
        self._model.model.layers = self._model.model.layers[:depth]
        self._model.config.num_hidden_layers = depth
        ids = np.concatenate([np.asarray(self._tokens.encode(t, add_special_tokens=False), np.int64) for t in common])
        kinds, counts = np.unique(ids, return_counts=True)
        kept = torch.from_numpy(kinds[np.argsort(-counts, kind="stable")[: reading.vocabulary]])
        self._output: Tensor = self._model.get_output_embeddings().weight.detach()
        self._common: Tensor = self._output[kept]

    @torch.inference_mode()
    def read(self, question: Question) -> Array:
        """[answers, layers x width (+ LIKELIHOODS)]"""
        first = self._tokens.bos_token_id
        prompt = self._ids(question.prompt)[-self.reading.prompt_tokens :]
        prompt = prompt if first is None else [first, *prompt]
        answers = [self._ids(" " + a.strip())[: self.reading.answer_tokens] for a in question.answers]
        known = self._model.model(torch.tensor([prompt[:-1]]), use_cache=True).past_key_values
        held = known.get_seq_length()
        order = sorted(range(len(answers)), key=lambda i: len(answers[i]))
        found: dict[int, Array] = {}
        for start in range(0, len(order), self.reading.batch):
            group = order[start : start + self.reading.batch]
            found |= dict(zip(group, self._read(prompt[-1], [answers[i] for i in group], known, held), strict=True))
        return np.stack([found[i] for i in range(len(answers))])

    def _ids(self, text: str) -> list[int]:
        return self._tokens.encode(text, add_special_tokens=False)

    def _read(self, last: int, answers: list[list[int]], known: Any, held: int) -> list[Array]:
        longest = max(len(a) for a in answers)
        ids = torch.tensor([[last, *a, *[0] * (longest - len(a))] for a in answers])
        past = _repeated(known, len(answers), self._model.config)
        states = self._model.model(ids, past_key_values=past, output_hidden_states=True).hidden_states
        rows: list[Array] = []
        for n, answer in enumerate(answers):
            here = slice(1, len(answer) + 1)
            means = [states[layer][n, here].float().mean(dim=0) for layer in self.reading.layers]
            if self._whole:
                means.append(self._likelihoods(states[-1][n, : len(answer)], torch.tensor(answer)))
            rows.append(torch.cat(means).double().numpy())
        return rows

    def _likelihoods(self, states: Tensor, targets: Tensor) -> Tensor:
        logits = (states @ self._common.T).float()
        own = (states * self._output[targets]).sum(dim=-1).float()
        logprobs = (own - logits.logsumexp(dim=-1)).clamp(max=0.0)
        log_expected = logits.log_softmax(dim=-1)
        entropy = -(log_expected.exp() * log_expected).sum(dim=-1)
        half = max(1, len(logprobs) // 2)
        ends = (logprobs[:half].mean(), logprobs[-half:].mean())
        spread = -logprobs.square().mean().sqrt()
        return torch.stack([logprobs.mean(), spread, logprobs.min(), *ends, entropy.mean()])


def _repeated(known: Any, count: int, config: Any) -> Any:
    from transformers import DynamicCache

    copy = DynamicCache(config=config)
    for index, layer in enumerate(known.layers):
        copy.update(layer.keys.repeat(count, 1, 1, 1), layer.values.repeat(count, 1, 1, 1), index)
    return copy


def read_all(folder: Path, questions: Sequence[Question], reading: Reading, kept: Path) -> Array:
    """[answers, F] of all questions in order; what an earlier call read and left in `kept` is not read again."""
    kept.mkdir(parents=True, exist_ok=True)
    size = reading.questions_per_file
    parts = [questions[i : i + size] for i in range(0, len(questions), size)]
    common = [a for q in questions for a in q.answers]
    files = [kept / f"{name}.npz" for name in _names(folder, parts, reading, common)]
    reader: FrozenReader | None = None
    for number, (part, file) in enumerate(zip(parts, files, strict=True)):
        if file.exists():
            continue
        reader = reader or FrozenReader(folder, reading, common)
        read = np.concatenate([reader.read(q) for q in part])
        partial = file.with_suffix(".partial.npz")
        np.savez_compressed(partial, features=read.astype(np.float16))
        partial.replace(file)
        print(f"read {number + 1} of {len(parts)}", file=sys.stderr, flush=True)
    return np.concatenate([_load(file) for file in files])


def _load(file: Path) -> Array:
    with np.load(file) as held:
        return held["features"].astype(np.float64)


def _names(folder: Path, parts: Sequence[Sequence[Question]], reading: Reading, common: Sequence[str]) -> list[str]:
    """One for each part, which changes with anything that its features depend on."""
    way = _digest([folder.name, msgspec.to_builtins(reading), common])
    return [_digest([way, *([q.prompt, *q.answers] for q in part)]) for part in parts]


def _digest(said: object) -> str:
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:24]

"""From chat messages to token ids and padded batches: the only place that knows the chat template.

Every mask here comes from lengths, never from comparing ids with the pad id, so that a pad token that happens to be
the end token cannot hide the end of an answer (Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO").
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from thumbwheel.template import PLAIN_CHAT_TEMPLATE
from thumbwheel_learner.dataset.examples import Messages
from thumbwheel_learner.errors import LearnerError

CanSay = Callable[[int], bool]
PROBE = "probe"
READ_TOKENS = 1024
"""Padded tokens per forward pass that needs no gradient."""


class NoEndToken(LearnerError):
    """The tokenizer names no end of turn, so an answer could never be said to be finished."""


class ChatTokenizer:
    """The base model's tokenizer with what training needs to know: stop ids, end of turn, a pad id that is neither."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stop_ids: frozenset[int],
        template: str | None = None,
        *,
        can_say: CanSay = lambda _: True,
    ) -> None:
        """`template` overrides the tokenizer's own; answers end with a token that the model `can_say`.

        Raises `NoEndToken` when there is no way to end an answer.
        """
        self._tokenizer: Any = tokenizer
        self._template = template or (None if tokenizer.chat_template else PLAIN_CHAT_TEMPLATE)
        eos = cast("int | None", self._tokenizer.eos_token_id)
        self.stop_ids = stop_ids | ({eos} if eos is not None else set[int]())
        if not self.stop_ids:
            raise NoEndToken("the tokenizer has no eos_token and the generation config names no eos_token_id")
        endings = self._endings(eos)
        self.end_id = next((i for i in endings if can_say(i)), endings[0])
        self.pad_id = self._pad()

    @classmethod
    def load(cls, base: Path, *, template: str | None = None, can_say: CanSay = lambda _: True) -> "ChatTokenizer":
        """Read the tokenizer and the stop tokens from a checkpoint folder; no code of the checkpoint is run."""
        tokenizer = cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(base, trust_remote_code=False))
        return cls(tokenizer, _stop_ids(base), template, can_say=can_say)

    def prompt_ids(self, messages: Messages) -> list[int]:
        """The conversation up to and including the header that makes the assistant speak."""
        return self._render(messages, add_generation_prompt=True)

    def answer_ids(self, text: str) -> list[int]:
        """A whole answer, its end-of-turn token last."""
        return [*self.text_ids(text), self.end_id]

    def text_ids(self, text: str) -> list[int]:
        """Bare text, without any special token."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """What a person reads: special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def _render(self, messages: Messages, *, add_generation_prompt: bool) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, chat_template=self._template
        )
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _endings(self, eos: int | None) -> list[int]:
        """What an answer may end with: first what the template puts there, then the tokenizer's eos, then the rest."""
        turn = [{"role": "user", "content": PROBE}, {"role": "assistant", "content": PROBE}]
        tail = self._render(turn, add_generation_prompt=False)[-4:]
        usual = [*(i for i in tail if i in self.stop_ids), *([eos] if eos is not None else [])]
        return list(dict.fromkeys([*usual, *sorted(self.stop_ids)]))

    def _pad(self) -> int:
        for candidate in (self._tokenizer.pad_token_id, self._tokenizer.unk_token_id, *range(len(self._tokenizer))):
            if candidate is not None and candidate not in self.stop_ids:
                return int(candidate)
        raise NoEndToken("every token of the vocabulary is a stop token")


def _stop_ids(base: Path) -> frozenset[int]:
    if not (base / "generation_config.json").is_file():
        return frozenset()
    eos = cast(Any, GenerationConfig.from_pretrained(base)).eos_token_id
    return frozenset([eos] if isinstance(eos, int) else (eos or []))


@dataclass(frozen=True)
class Batch:
    """Prompts with answers, padded; `N` answer tokens in all, `A` in the longest answer."""

    ids: Tensor
    """[B, T]"""
    attention: Tensor | None
    """[B, T], 1 where a token is; None when right-padded: nothing real can see what comes after it; [B, 1, T, T], true
    where one token sees another, when answers share a prompt."""
    positions: Tensor
    """[B, T] counted from each row's first real token; [1, T] when that is column 0 for all."""
    rows: Tensor
    """[N] row of every answer token, row by row."""
    columns: Tensor
    """[N] column of the hidden state that predicts it."""
    targets: Tensor
    """[N] ids of the answer tokens."""
    mask: Tensor
    """[B, A] bool, true where an answer has a token."""
    last: Tensor
    """[B] column of the last answer token."""

    def unflatten(self, flat: Tensor) -> Tensor:
        """[N] per answer token -> [B, A], zero where there is none."""
        out = torch.zeros(self.mask.shape, dtype=flat.dtype, device=flat.device)
        return out.masked_scatter(self.mask, flat)


def make_batch(
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    pad_id: int,
    side: Literal["left", "right"] = "right",
    extra: int = 0,
) -> Batch:
    """Pad prompt + answer rows; positions follow the mask, so both sides give the same numbers.

    `extra` adds columns of padding. Every prompt has at least one token and every answer too.
    """
    lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
    width = max(lengths) + extra
    starts = [width - n if side == "left" else 0 for n in lengths]
    ids = torch.full((len(lengths), width), pad_id, dtype=torch.long)
    attention = torch.zeros((len(lengths), width), dtype=torch.long)
    rows: list[int] = []
    columns: list[int] = []
    for row, (prompt, answer, start) in enumerate(zip(prompts, answers, starts, strict=True)):
        ids[row, start : start + lengths[row]] = torch.tensor([*prompt, *answer])
        attention[row, start : start + lengths[row]] = 1
        first = start + len(prompt) - 1
        rows += [row] * len(answer)
        columns += range(first, first + len(answer))
    row_index, column_index = torch.tensor(rows), torch.tensor(columns)
    sizes = torch.tensor([len(a) for a in answers])
    return Batch(
        ids=ids,
        attention=attention if side == "left" else None,
        positions=(attention.cumsum(-1) - 1).clamp(min=0) if side == "left" else torch.arange(width)[None],
        rows=row_index,
        columns=column_index,
        targets=ids[row_index, column_index + 1],
        mask=torch.arange(int(sizes.max()))[None, :] < sizes[:, None],
        last=torch.tensor([s + n - 1 for s, n in zip(starts, lengths, strict=True)]),
    )


def make_shared_batch(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], *, pad_id: int, shared: Sequence[Sequence[int]]
) -> Batch:
    """One row for each group of answers in `shared`, which have one prompt: it is read once, no answer sees another.

    `shared` holds the answers' indices, in their order. `rows`, `columns`, `targets` and `mask` are by answer as in
    `make_batch`, while `ids` and `last` are not: a row ends with its last answer.
    """
    lengths = [len(prompts[g[0]]) + sum(len(answers[i]) for i in g) for g in shared]
    shape = (len(shared), max(lengths))
    ids = torch.full(shape, pad_id, dtype=torch.long)
    segments, positions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, group in enumerate(shared):
        prompt = prompts[group[0]]
        ids[row, : len(prompt)] = torch.tensor([*prompt])
        positions[row, : len(prompt)] = torch.arange(len(prompt))
        start = len(prompt)
        for segment, i in enumerate(group, start=1):
            end = start + len(answers[i])
            ids[row, start:end] = torch.tensor([*answers[i]])
            positions[row, start:end] = torch.arange(len(prompt), len(prompt) + len(answers[i]))
            segments[row, start:end] = segment
            rows += [row] * len(answers[i])
            columns += [len(prompt) - 1, *range(start, end - 1)]
            targets += answers[i]
            start = end
    of_prompt, own = segments[:, None, :] == 0, segments[:, :, None] == segments[:, None, :]
    before = torch.ones(shape[1], shape[1], dtype=torch.bool).tril()
    sizes = torch.tensor([len(answers[i]) for g in shared for i in g])
    return Batch(
        ids=ids,
        attention=((of_prompt | own) & before)[:, None],
        positions=positions,
        rows=torch.tensor(rows),
        columns=torch.tensor(columns),
        targets=torch.tensor(targets),
        mask=torch.arange(int(sizes.max()))[None, :] < sizes[:, None],
        last=torch.tensor(lengths) - 1,
    )


def runs_of_equal(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices in groups of neighbours with the same prompt."""
    groups: list[list[int]] = []
    for i, prompt in enumerate(prompts):
        if groups and prompts[groups[-1][0]] == prompt:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def by_length(lengths: Sequence[int], max_tokens: int, generator: torch.Generator | None = None) -> Iterator[list[int]]:
    """Group indices of like length into batches of at most `max_tokens` padded tokens; shuffled given a generator."""
    noise: list[float] = torch.rand(len(lengths), generator=generator).tolist() if generator else [0.0] * len(lengths)
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i] // 4, noise[i]))
    groups: list[list[int]] = [[]]
    for i in order:
        group = groups[-1]
        if group and max(lengths[i], *(lengths[j] for j in group)) * (len(group) + 1) > max_tokens:
            groups.append([])
        groups[-1].append(i)
    shuffled = torch.randperm(len(groups), generator=generator).tolist() if generator else range(len(groups))
    yield from (groups[i] for i in shuffled if groups[i])


def fit(prompt: Sequence[int], answer: Sequence[int], max_length: int) -> tuple[list[int], list[int]]:
    """Cut to `max_length` tokens: first the far end of the prompt, then the answer; one prompt token stays."""
    kept_answer = list(answer[: max(1, max_length - 1)])
    return list(prompt[-max(1, max_length - len(kept_answer)) :]), kept_answer

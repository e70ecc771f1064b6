"""An encoder of its own as the reward model's trunk: any model that transformers loads, read and never trained."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and transformers are partial; what leaves this file is typed)

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.model.tokens import Batch, ChatTokenizer
from thumbwheel_learner.reward.labels import Row

SETTING = "THUMBWHEEL_REWARD_TRUNK"
PROMPT, ANSWER = 0, 1


class NoEncoder(LearnerError):
    """The reward model's encoder cannot be loaded; the message says why."""


class Encoder:
    """Mean states of the prompt and of the answer, in its own tokens."""

    def __init__(self, folder: str, tokens: ChatTokenizer, device: torch.device, max_length: int) -> None:
        """`tokens` turn rows back into text. Raises `NoEncoder`."""
        from transformers import AutoModel, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, use_fast=True)
            model: Any = AutoModel.from_pretrained(folder, dtype=torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise NoEncoder(f"{SETTING}={folder}: transformers loads no encoder from it: {error}") from error
        if not self._tokenizer.is_fast:
            raise NoEncoder(f"{SETTING}={folder}: its tokenizer has no fast version (tokenizer.json)")
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token or self._tokenizer.unk_token
        encoder = model.get_encoder() if model.config.is_encoder_decoder else model
        self._encoder = encoder.to(device).eval().requires_grad_(False)
        self._tokens, self._device = tokens, device
        longest = getattr(model.config, "max_position_embeddings", None) or max_length
        self._limit = min(max_length, longest - 2)
        """Two positions less than there are: some models begin to count at two."""
        self.width = 2 * int(model.config.get_text_config().hidden_size)
        self._tokenizer.truncation_side = "left"
        self._in_tokens([("", "")])  # a fast tokenizer sets itself up at its first call, which no two threads may make

    @torch.no_grad()
    def read(self, rows: Sequence[Row], batch: Batch, below: Tensor | None) -> Tensor:
        """[N, width] mean over the prompt's tokens, mean over the answer's; see `frozen_trunk.Reader`."""
        read = self._in_tokens([(self._tokens.decode(row.prompt), self._tokens.decode(row.answer)) for row in rows])
        sides = [[-1 if s is None else s for s in read.sequence_ids(n)] for n in range(len(rows))]
        states = self._encoder(**read.to(self._device)).last_hidden_state.float().cpu()
        of = torch.tensor(sides)
        return torch.cat([_mean(states, of == side) for side in (PROMPT, ANSWER)], dim=1)

    def _in_tokens(self, texts: Sequence[tuple[str, str]]) -> Any:
        """Prompts with their answers; the beginning of what is too long is left out."""
        return self._tokenizer(
            [prompt for prompt, _ in texts],
            [answer for _, answer in texts],
            truncation="longest_first",
            max_length=self._limit,
            padding=True,
            return_tensors="pt",
        )


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """[N, T, D], [N, T] -> [N, D] over what the mask names; 0 where it names nothing."""
    weights = mask.float() / mask.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.einsum("ntd,nt->nd", states, weights)

"""A `RolloutEngine` on plain transformers: for tests and offline experiments, and the reference for the served one."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.rollouts.engine import Rollout

SLOT = "sampler"
"""The adapter name under which folders are loaded here, next to those in training."""


class TransformersSampler:
    """Samples with a key-value cache and left padding from the model it is given."""

    def __init__(self, model: PolicyModel, *, batch_size: int = 128) -> None:
        self._model = model
        self._batch_size = batch_size

    def sample(
        self,
        adapter: Path | None,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        seed: int,
    ) -> list[list[Rollout]]:
        """`n` completions per prompt; the same seed gives the same completions."""
        if adapter is not None:
            self._model.load(SLOT, adapter)
        generator = torch.Generator().manual_seed(seed)
        rows = [list(p) for p in prompts for _ in range(n)]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        done: dict[int, Rollout] = {}
        with torch.no_grad(), self._model.using(*([SLOT] if adapter is not None else [])):
            for start in range(0, len(order), self._batch_size):
                group = order[start : start + self._batch_size]
                sampled = self._batch([rows[i] for i in group], max_tokens, temperature, generator)
                done.update(zip(group, sampled, strict=True))
        flat = [done[i] for i in range(len(rows))]
        return [flat[i : i + n] for i in range(0, len(flat), n)]

    def _batch(
        self, prompts: list[list[int]], max_tokens: int, temperature: float, generator: torch.Generator
    ) -> list[Rollout]:
        tokens = self._model.tokens
        width = max(len(p) for p in prompts)
        ids = torch.tensor([[tokens.pad_id] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache()
        chosen: list[list[int]] = [[] for _ in prompts]
        logprobs: list[list[float]] = [[] for _ in prompts]
        going = torch.ones(len(prompts), dtype=torch.bool)
        for _ in range(max_tokens):
            scores = torch.log_softmax(self._next_logits(ids, mask, positions, cache) / temperature, dim=-1)
            picked = torch.multinomial(scores.exp(), 1, generator=generator)
            of_picked = scores.gather(-1, picked).squeeze(-1)
            for row in torch.nonzero(going).flatten().tolist():
                chosen[row].append(int(picked[row]))
                logprobs[row].append(float(of_picked[row]))
                going[row] = int(picked[row]) not in tokens.stop_ids
            if not bool(going.any()):
                break
            ids, positions = picked, positions[:, -1:] + 1
            mask = torch.cat([mask, torch.ones(len(prompts), 1, dtype=mask.dtype)], dim=1)
        return [
            Rollout(c, p, c[-1] in tokens.stop_ids, tokens.decode(c)) for c, p in zip(chosen, logprobs, strict=True)
        ]

    def _next_logits(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """[B, V] for the token after the last column, on the CPU where the generator draws."""
        device = self._model.device
        base: Any = self._model.base
        out = base.base_model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
        )
        return self._model.logits(out.last_hidden_state[:, -1]).cpu()

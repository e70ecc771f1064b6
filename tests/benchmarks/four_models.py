"""A plain PPO that keeps policy, reference, value and reward in models of their own, as the textbook draws it.

It saves memory where that is usual: LoRA (PEFT) on policy and value, gradient checkpointing in both, logits of answer
tokens only, in chunks that the backward pass recomputes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class FourModels:
    """Policy and value learn through LoRA, reference and reward stay as they are."""

    def __init__(self, base: Path, rank: int, chunk: int) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModel, AutoModelForCausalLM

        def adapted(model: Any) -> Any:
            config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", lora_dropout=0.0)
            model.gradient_checkpointing_enable({"use_reentrant": False})
            return get_peft_model(model, config)

        self.policy = adapted(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32))
        self.reference: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        self.value = adapted(AutoModel.from_pretrained(base, dtype=torch.float32))
        self.reward: Any = AutoModel.from_pretrained(base, dtype=torch.float32).eval()
        for frozen in (self.reference, self.reward):
            frozen.requires_grad_(False)
        width = int(self.reward.config.hidden_size)
        self.value_head, self.reward_head = nn.Linear(width, 1), nn.Linear(width, 1)
        self.chunk = chunk
        trained = [p for m in (self.policy, self.value, self.value_head) for p in m.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=1e-4)

    def logprobs(self, model: Any, ids: Tensor, answer: int) -> Tensor:
        """[B, answer] of the last tokens of `ids` [B, T]."""
        body, head = model.get_decoder(), model.get_output_embeddings()
        states = body(input_ids=ids, use_cache=False).last_hidden_state[:, -answer - 1 : -1].flatten(0, 1)
        targets = ids[:, -answer:].flatten()
        parts: list[Tensor] = []

        def score(some: Tensor, chosen: Tensor) -> Tensor:
            return -nn.functional.cross_entropy(head(some), chosen, reduction="none")

        for some, chosen in zip(states.split(self.chunk), targets.split(self.chunk), strict=True):
            recompute = torch.is_grad_enabled()
            parts.append(checkpoint(score, some, chosen, use_reentrant=False) if recompute else score(some, chosen))
        return torch.cat(parts).view(len(ids), answer)

    def values(self, ids: Tensor, answer: int) -> Tensor:
        """[B, answer] before every answer token."""
        states = self.value(input_ids=ids, use_cache=False).last_hidden_state
        return self.value_head(states[:, -answer - 1 : -1]).squeeze(-1)

    def train(self, ids: Tensor, answer: int, *, minibatch: int, rows: int, rows_read: int) -> int:
        """One epoch on `ids` [N, T]: an experience pass of `rows_read` at a time, then minibatches, `rows` per pass."""
        old, rewards = self._observe(ids, answer, rows_read)
        advantages = rewards[:, None].expand_as(old)
        steps = 0
        for start in range(0, len(ids), minibatch):
            for part in _slices(start, min(start + minibatch, len(ids)), rows):
                ratio = (self.logprobs(self.policy, ids[part], answer) - old[part]).exp()
                gain = torch.min(ratio * advantages[part], ratio.clamp(0.8, 1.2) * advantages[part])
                errors = self.values(ids[part], answer) - rewards[part, None]
                ((errors.square() / 2 - gain).mean() * len(ids[part]) / minibatch).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            steps += 1
        return steps

    @torch.no_grad()
    def _observe(self, ids: Tensor, answer: int, rows: int) -> tuple[Tensor, Tensor]:
        """[N, answer] log-probabilities and [N] advantages: the reward less the KL term and the first value."""
        old: list[Tensor] = []
        advantages: list[Tensor] = []
        for part in _slices(0, len(ids), rows):
            old.append(self.logprobs(self.policy, ids[part], answer))
            kl = (old[-1] - self.logprobs(self.reference, ids[part], answer)).sum(1)
            last = self.reward(input_ids=ids[part], use_cache=False).last_hidden_state[:, -1]
            advantages.append(self.reward_head(last).squeeze(-1) - 0.1 * kl - self.values(ids[part], answer)[:, 0])
        return torch.cat(old), torch.cat(advantages)


def _slices(start: int, end: int, size: int) -> Iterator[slice]:
    return (slice(i, min(i + size, end)) for i in range(start, end, size))

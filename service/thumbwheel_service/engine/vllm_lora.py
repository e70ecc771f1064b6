"""LoRA on CPUs, grouped by adapter: as exact as the stock kernels, many times faster, and right for the base model.

vLLM's CPU path gathers both LoRA matrices once per token, which costs more than the model itself when a batch is
large, and it reads "no adapter" (index -1) as the last slot, so that a request for the base model that shares a batch
with adapter requests may be answered by an adapter. Here the tokens of one adapter are multiplied together, and
tokens without an adapter are left alone.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (torch and vLLM are typed in part only; what leaves this file is typed)

from typing import Any, cast

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform

from thumbwheel_service.engine.vllm_orphans import end_with_parent

Group = tuple[int, torch.Tensor | None]
"""An adapter's slot, and the rows of the batch that use it; None means all of them."""


def group_rows(indices: torch.Tensor) -> list[Group]:
    """Split a batch by adapter slot; `indices` is (rows,), -1 for rows without an adapter."""
    slots = cast(list[int], sorted(set(indices.tolist())))
    if len(slots) == 1:
        return [(slots[0], None)] if slots[0] >= 0 else []
    return [(slot, (indices == slot).nonzero().squeeze(1)) for slot in slots if slot >= 0]


def add_delta(
    y: torch.Tensor, x: torch.Tensor, groups: list[Group], a: torch.Tensor, b: torch.Tensor, scale: float
) -> None:
    """Add `scale * x A^T B^T` to `y` in place, each row with its own adapter.

    y (rows, >= out), x (rows, in), a (slots, 1, rank, in), b (slots, 1, out, rank).
    """
    width = min(y.shape[1], b.shape[-2])
    for slot, rows in groups:
        mine = x if rows is None else x.index_select(0, rows)
        low = torch.nn.functional.linear(mine, a[slot, 0].to(mine.dtype))
        delta = torch.nn.functional.linear(low, b[slot, 0, :width].to(low.dtype)).to(y.dtype)
        if rows is None:
            y[:, :width].add_(delta, alpha=scale)
        else:
            y[:, :width].index_add_(0, rows, delta, alpha=scale)


class GroupedLoRA(PunicaWrapperCPU):
    """The wrapper vLLM calls for every linear layer that may carry an adapter."""

    _token_groups: list[Group]
    _sampler_groups: list[Group]

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Group the batch once per step instead of once per layer."""
        super().update_metadata(*args, **kwargs)
        self._token_groups = group_rows(self.token_lora_indices)
        self._sampler_groups = group_rows(self.sampler_indices)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **_kwargs: Any,
    ) -> None:
        """The delta of every slice (q, k, v of one fused projection) for every adapter in the batch."""
        y = y.view(-1, y.shape[-1])
        x = x.view(-1, x.shape[-1])
        offset = 0
        for a, b, size in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            add_delta(y[:, offset : offset + size], x, self._token_groups, a, b, scale)
            offset += size

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        **_kwargs: Any,
    ) -> None:
        """The delta of the output head, one row per sampled position."""
        y = y.view(-1, y.shape[-1])
        add_delta(y, x.view(-1, x.shape[-1]), self._sampler_groups, lora_a_stacked, lora_b_stacked, scale)


def register() -> None:
    """vLLM's `general_plugins` hook, called once in every engine process."""
    end_with_parent()
    if current_platform.is_cpu():
        name = f"{GroupedLoRA.__module__}.{GroupedLoRA.__qualname__}"
        cast(Any, type(current_platform)).get_punica_wrapper = classmethod(lambda _cls: name)

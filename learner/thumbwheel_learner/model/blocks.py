"""The stack of transformer blocks, so that adapters on the upper ones can share one pass through the lower ones."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from transformers import PreTrainedModel


class _Fan(NamedTuple):
    rows: int
    repeats: int
    first: int

    def widen(self, x: object) -> object:
        """Copies of whatever has one entry per sequence."""
        per_row = isinstance(x, Tensor) and x.dim() >= 2 and x.shape[0] == self.rows
        return torch.cat([cast(Tensor, x)] * self.repeats) if per_row else x


class _Now(threading.local):
    now: _Fan | None = None
    stop_at: int | None = None


class Reached(Exception):
    """A forward pass came to the block where it was to stop; holds what that block was given."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


class _Nothing(nn.Module):
    """A block that hands on what it is given."""

    def forward(self, hidden_states: Tensor, *_: object, **__: object) -> Tensor:
        return hidden_states


def stack_of(model: PreTrainedModel) -> tuple[str | None, list[nn.Module]]:
    """Path and blocks of the list of modules that is as long as the config says the model is deep; None and nothing."""
    depth = int(cast(Any, model).config.get_text_config().num_hidden_layers)
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return path, list(module)
    return None, []


class Blocks:
    """The blocks of a causal model, found without knowing its architecture; none when it has no plain stack."""

    def __init__(self, model: PreTrainedModel) -> None:
        """The hooks come before those of a sharded block: a pass that stops there has gathered nothing."""
        self._prefix, self._stack = stack_of(model)
        self._fan = _Now()
        self._uppers: dict[int, nn.Module | None] = {}
        for index, block in enumerate(self._stack):
            block.register_forward_pre_hook(self._widen_from(index), with_kwargs=True, prepend=True)

    def above(self, share: float) -> int:
        """Index from which blocks make up the upper `share` of the stack; 0 (all of it) without a stack."""
        return len(self._stack) - max(1, round(len(self._stack) * share)) if self._stack else 0

    @property
    def fan(self) -> threading.local:
        """What this thread's passes widen to and stop at: a pass that is repeated needs the same."""
        return self._fan

    def last(self) -> nn.Module | None:
        """The uppermost block; None without a stack."""
        return self._stack[-1] if self._stack else None

    def index_of(self, path: str) -> int:
        """Which block a module lies in; what lies in none counts as below all."""
        if self._prefix is None or not path.startswith(f"{self._prefix}."):
            return -1
        return int(path.removeprefix(f"{self._prefix}.").partition(".")[0])

    @contextmanager
    def fan_out(self, rows: int, repeats: int, first: int) -> Iterator[None]:
        """Inside, a forward pass of `rows` sequences by this thread becomes one of `repeats` copies from `first` up."""
        self._fan.now = _Fan(rows, repeats, first)
        try:
            yield
        finally:
            self._fan.now = None

    @contextmanager
    def stop_before(self, block: int) -> Iterator[None]:
        """Inside, a forward pass by this thread raises `Reached` instead of entering a block."""
        self._fan.stop_at = block
        try:
            yield
        finally:
            self._fan.stop_at = None

    def upper(self, body: nn.Module, first: int) -> nn.Module | None:
        """The body whose blocks below `first` do nothing, sharing the others; None where it does not hold the stack.

        The lower ones keep their places, because some architectures choose masks and positions by a block's number.
        """
        if first not in self._uppers:
            names = [n for n, m in body.named_children() if isinstance(m, nn.ModuleList) and list(m) == self._stack]
            blocks = [*(_Nothing() for _ in range(first)), *self._stack[first:]]
            self._uppers[first] = _with_child(body, names[0], blocks) if names and first else None
        return self._uppers[first]

    def _widen_from(self, index: int) -> Callable[..., tuple[Any, Any] | None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
            if index == self._fan.stop_at:
                raise Reached(cast(Tensor, args[0] if args else kwargs["hidden_states"]))
            fan = self._fan.now
            if fan is None or index < fan.first:
                return None
            if index == fan.first:
                return tree_map(fan.widen, args), tree_map(fan.widen, kwargs)
            return (args[0], *tree_map(fan.widen, args[1:])), tree_map(fan.widen, kwargs)

        return hook


def _with_child(module: nn.Module, name: str, blocks: list[nn.Module]) -> nn.Module:
    """A shallow copy with another list of blocks in one place; everything else is the original's."""
    twin = copy.copy(module)
    twin.__dict__["_modules"] = {**module.__dict__["_modules"], name: nn.ModuleList(blocks)}
    return twin

"""The stack of transformer blocks, so that adapters on the upper ones can share one pass through the lower ones."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from transformers import PreTrainedModel


class Blocks:
    """The blocks of a causal model, found without knowing its architecture; none when it has no plain stack."""

    def __init__(self, model: PreTrainedModel) -> None:
        """The stack is the list of modules that is as long as the config says the model is deep."""
        depth = int(cast(Any, model).config.get_text_config().num_hidden_layers)
        found = {path: m for path, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth}
        self._prefix: str | None = next(iter(found), None)
        self._stack: list[nn.Module] = list(found[self._prefix]) if self._prefix is not None else []

    def above(self, share: float) -> int:
        """Index from which blocks make up the upper `share` of the stack; 0 (all of it) without a stack."""
        return len(self._stack) - max(1, round(len(self._stack) * share)) if self._stack else 0

    def index_of(self, path: str) -> int:
        """Which block a module lies in; what lies in none counts as below all."""
        if self._prefix is None or not path.startswith(f"{self._prefix}."):
            return -1
        return int(path.removeprefix(f"{self._prefix}.").partition(".")[0])

    @contextmanager
    def fan_out(self, rows: int, repeats: int, first: int) -> Iterator[None]:
        """Inside, a forward pass of `rows` sequences becomes one of `repeats` copies each from block `first` up."""

        def widen(x: object) -> object:
            per_row = isinstance(x, Tensor) and x.dim() >= 2 and x.shape[0] == rows
            return torch.cat([cast(Tensor, x)] * repeats) if per_row else x

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            return tree_map(widen, args), tree_map(widen, kwargs)

        def go_on(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            return (args[0], *tree_map(widen, args[1:])), tree_map(widen, kwargs)

        with ExitStack() as stack:
            for index, block in enumerate(self._stack[first:]):
                handle = block.register_forward_pre_hook(go_on if index else enter, with_kwargs=True)
                stack.callback(handle.remove)
            yield

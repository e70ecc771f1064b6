"""Where the last block looks: attention weights, which the fast kernels of training never write down."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and transformers are partial; what leaves this file is typed)

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from thumbwheel_learner.model.lora import UnsuitableModel
from thumbwheel_learner.model.policy import PolicyModel


class Seen(threading.local):
    """The weights of this thread's last forward pass."""

    weights: Tensor | None = None

    def last(self) -> Tensor:
        """[B, H, T, T] of the last block; raises `UnsuitableModel` when the architecture has none to show."""
        if self.weights is None:
            raise UnsuitableModel("the last block of this model gives no attention weights")
        return self.weights


@contextmanager
def watching(model: PolicyModel) -> Iterator[Seen]:
    """Inside, forward passes attend by plain matrix products, slower, and the last block's weights are kept.

    For all threads at once: nothing else may run on this model meanwhile. Raises `UnsuitableModel`.
    """
    block = model.blocks.last()
    if block is None:
        raise UnsuitableModel(f"{type(model.base).__name__} has no plain stack of blocks")
    seen = Seen()

    def keep(_module: nn.Module, _given: Any, made: Any) -> None:
        if isinstance(made, tuple) and len(made) > 1 and isinstance(made[1], Tensor) and made[1].dim() == 4:
            seen.weights = made[1].detach()

    fast = model.base.config._attn_implementation
    hooks = [module.register_forward_hook(keep) for module in block.modules() if module is not block]
    model.base.set_attn_implementation("eager")
    try:
        yield seen
    finally:
        model.base.set_attn_implementation(fast)
        for hook in hooks:
            hook.remove()

"""Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) on a frozen base, many on one model.

Why not PEFT itself in training: here several adapters can run in one forward pass (the members of a reward ensemble,
or policy and critic), each on its own slice of the batch. The files are PEFT's (`adapters.py`).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch, transformers and safetensors are partial; what leaves this file is typed)

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from thumbwheel_learner.errors import LearnerError


@dataclass(frozen=True)
class LoraConfig:
    """Size of an adapter; the update of a layer is `alpha / rank * B @ A`."""

    rank: int = 16
    alpha: int = 32


class UnsuitableModel(LearnerError):
    """The model has no linear layer that an adapter could sit on, or hides the parts that training needs."""


class Active(threading.local):
    """Which adapters the layers apply now, in this thread: none, one, or several on equal slices of the batch."""

    names: tuple[str, ...] = ()


class LoraLinear(nn.Module):
    """A frozen linear layer (or GPT-2's Conv1D) plus named low-rank updates."""

    def __init__(self, base: nn.Linear | Conv1D, active: Active) -> None:
        super().__init__()
        self.base = base
        self.active = active
        self.transposed = isinstance(base, Conv1D)
        """PEFT's `fan_in_fan_out`: the base stores its weight as [in, out]."""
        first, second = base.weight.shape
        self.inputs, self.outputs = (first, second) if self.transposed else (second, first)
        self.a = nn.ParameterDict()
        self.b = nn.ParameterDict()
        self.scale: dict[str, float] = {}

    def add(self, name: str, config: LoraConfig, generator: torch.Generator) -> None:
        """A new update, zero at first: A uniform as PEFT draws it, B zero."""
        bound = 1 / math.sqrt(self.inputs)
        a = torch.empty(config.rank, self.inputs).uniform_(-bound, bound, generator=generator)
        self.put(name, a, torch.zeros(self.outputs, config.rank), config)

    def put(self, name: str, a: Tensor, b: Tensor, config: LoraConfig) -> None:
        """An update of known weights."""
        device = self.base.weight.device
        self.a[name] = nn.Parameter(a.detach().clone().to(device))
        self.b[name] = nn.Parameter(b.detach().clone().to(device))
        self.scale[name] = config.alpha / config.rank

    def remove(self, name: str) -> None:
        """Forget an update."""
        if name in self.a:
            del self.a[name], self.b[name], self.scale[name]

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]; with several active adapters the first dimension is split evenly among them.

        Adapters that are active together sit on the same layers; a layer without them passes through.
        """
        y = self.base(x)
        names = self.active.names
        if not names or names[0] not in self.a:
            return y
        if len(names) == 1:
            a, b = self.a[names[0]], self.b[names[0]]
            low = nn.functional.linear(x.to(a.dtype), a) * self.scale[names[0]]
            if y.dtype != low.dtype:
                return y + nn.functional.linear(low, b).to(y.dtype)
            return torch.addmm(y.flatten(0, -2), low.flatten(0, -2), b.t()).view(y.shape)
        a = torch.stack([self.a[n] for n in names])
        b = torch.stack([self.b[n] * self.scale[n] for n in names])
        low = torch.bmm(x.reshape(len(names), -1, self.inputs).to(a.dtype), a.transpose(1, 2))
        return y + torch.bmm(low, b.transpose(1, 2)).view(y.shape).to(y.dtype)


def wrap_linears(model: PreTrainedModel, active: Active) -> dict[str, LoraLinear]:
    """Put a `LoraLinear` in the place of every linear layer but the output head; module path -> layer.

    Finds q, k, v, o, gate, up and down of Llama-like models and c_attn, c_fc, c_proj of GPT-2 without knowing them.
    """
    head = cast(Any, model).get_output_embeddings()
    found = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    if not found:
        raise UnsuitableModel(f"{type(model).__name__} has no linear layers to adapt")
    layers: dict[str, LoraLinear] = {}
    for path, module in found.items():
        parent, _, leaf = path.rpartition(".")
        layers[path] = LoraLinear(module, active)
        setattr(model.get_submodule(parent), leaf, layers[path])
    return layers


def parameters_of(layers: dict[str, LoraLinear], name: str) -> Iterator[nn.Parameter]:
    """The trainable tensors of one adapter, in a fixed order."""
    for layer in layers.values():
        if name in layer.a:
            yield layer.a[name]
            yield layer.b[name]

"""What an architecture can do, found by trying: no list of those that can would stay true."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and transformers are partial; what leaves this file is typed)

from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from thumbwheel_learner.model.lora import UnsuitableModel
from thumbwheel_learner.model.tokens import Batch, make_batch, make_shared_batch

CANNOT = (RuntimeError, ValueError, TypeError, IndexError, KeyError)
"""What models raise that were not written for what is asked of them."""


class Tried(Protocol):
    """What a `PolicyModel` lets these trials do."""

    base: Any

    @property
    def device(self) -> torch.device:
        """Where the base lives."""
        ...

    def using(self, *names: str) -> AbstractContextManager[None]:
        """Apply these adapters inside."""
        ...

    def upper(self, first_block: int) -> Any:
        """The body from a block up."""
        ...

    def hidden(self, batch: Batch, *, first_block: int = 0, below: Tensor | None = None) -> Tensor:
        """[B, T, D] last hidden states."""
        ...

    def states_below(self, batch: Batch, first_block: int) -> Tensor:
        """[B, T, D] what the bare base hands to a block."""
        ...

    def answer_states(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[N, D] the states that predict the answers."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., V]."""
        ...


@torch.no_grad()
def check_split(model: Tried) -> None:
    """Make sure that body + head really is this architecture's forward pass; raises `UnsuitableModel`."""
    ids = _ids(model, 6)
    batch = make_batch([ids[:3]], [ids[3:]], pad_id=0)
    ours = model.logits(model.hidden(batch))
    theirs = cast(Tensor, model.base(input_ids=batch.ids.to(model.device), use_cache=False).logits).float()
    tolerance = _tolerance(model, 1e-3, 0.05)  # transformers caps logits in half precision
    if not torch.allclose(ours, theirs, atol=tolerance, rtol=tolerance):
        raise UnsuitableModel(f"{type(model.base).__name__} does more behind its body than a linear output head")


@torch.no_grad()
def reads_prompts_once(model: Tried) -> bool:
    """Whether answers that share a prompt's row get the scores they get in rows of their own: not every architecture
    takes a mask of four dimensions.
    """
    ids = _ids(model, 9)
    prompts, answers = [ids[:4], ids[:4]], [ids[4:6], ids[5:9]]
    alone = make_batch(prompts, answers, pad_id=0)
    together = make_shared_batch(prompts, answers, pad_id=0, shared=[[0, 1]])
    try:
        one, other = (model.answer_states(model.hidden(batch), batch).float() for batch in (alone, together))
    except CANNOT:
        return False
    tolerance = _tolerance(model, 1e-3, 0.1)
    return torch.allclose(one, other, atol=tolerance, rtol=tolerance)


@torch.no_grad()
def resumes_at(model: Tried, first_block: int) -> bool:
    """Whether a forward pass may begin at a block with the states below it: positions, masks or scalings of some
    architectures depend on more than that.
    """
    if not first_block or model.upper(first_block) is None:
        return False
    ids = _ids(model, 12)
    batch = make_batch([ids[:5], ids[3:6]], [ids[5:], ids[6:8]], pad_id=0)
    try:
        below = model.states_below(batch, first_block)
        with model.using():
            whole, resumed = model.hidden(batch), model.hidden(batch, first_block=first_block, below=below)
    except CANNOT:
        return False
    tolerance = _tolerance(model, 1e-4, 0.05)
    one, other = (model.answer_states(states, batch).float() for states in (whole, resumed))
    return torch.allclose(one, other, atol=tolerance, rtol=tolerance)


def _ids(model: Tried, count: int) -> list[int]:
    vocabulary = int(model.base.get_input_embeddings().weight.shape[0])
    return [(7 * i + 3) % vocabulary for i in range(count)]


def _tolerance(model: Tried, exact: float, coarse: float) -> float:
    return exact if model.base.dtype == torch.float32 else coarse

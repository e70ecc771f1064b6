"""Gradient checkpointing runs a block again in the backward pass: the same adapters must be on it then."""

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any


class AsItWas:
    """Inside, thread-local objects are what they were in the thread, and at the time, that made this; enter it often.

    A backward pass comes after the block that chose the adapters, and on a GPU in a thread of its own.
    """

    def __init__(self, *locals_: threading.local) -> None:
        self._kept = [(local, dict(vars(local))) for local in locals_]
        self._before: list[dict[str, Any]] = []

    def __enter__(self) -> None:
        self._before = [dict(vars(local)) for local, _ in self._kept]
        for local, kept in self._kept:
            _become(local, kept)

    def __exit__(self, *_: object) -> None:
        for (local, _kept), before in zip(self._kept, self._before, strict=True):
            _become(local, before)


def forward_and_again(
    *locals_: threading.local,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `torch.utils.checkpoint`: the context of a forward pass, and of its repetition."""
    return nullcontext(), AsItWas(*locals_)


def _become(local: threading.local, values: dict[str, Any]) -> None:
    vars(local).clear()
    vars(local).update(values)

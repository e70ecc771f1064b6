"""The frozen base spread over the processes, for models that are larger than one device."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Sequence
from typing import Any, cast

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, share_comm_ctx


def shard_blocks(blocks: Sequence[nn.Module], size: int) -> None:
    """Leave each of `size` processes its share of every block's weights; a pass gathers one block at a time.

    Fully sharded data parallel (Zhao et al. 2023, arXiv:2304.11277; torch's per-parameter form). What is added to a
    block later, as adapters are, stays whole in every process, and so do embeddings, the last norm and the output head.
    From here on all processes must make the same number of passes through every block, in the same order.
    """
    mesh = init_device_mesh("cpu", (size,))
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    share_comm_ctx(cast(Any, list(blocks)))

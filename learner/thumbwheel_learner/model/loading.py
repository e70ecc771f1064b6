"""A checkpoint folder becomes the one base model in memory."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and transformers are partial; what leaves this file is typed)

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from thumbwheel_learner.distributed.world import ALONE, World
from thumbwheel_learner.model.policy import Memory, PolicyModel
from thumbwheel_learner.model.tokens import ChatTokenizer
from thumbwheel_learner.model.untrained import is_untrained


def load_policy(
    base: Path,
    *,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    seed: int = 0,
    memory: Memory | None = None,
    workers: int = 1,
    chat_template: str | None = None,
    world: World = ALONE,
    shard: bool = False,
) -> PolicyModel:
    """Load a checkpoint folder once; code inside the checkpoint is never run.

    Without a `dtype` the base is exact (float32) on the CPU and bfloat16 elsewhere; adapters and heads are float32.
    `workers` threads train side by side; `chat_template` replaces the tokenizer's own. Every process of `world`
    loads it, and with `shard` keeps its share of it.

    Raises `UnsuitableModel`, `tokens.NoEndToken`, and what transformers raises for a folder that is no checkpoint.
    """
    torch.manual_seed(seed)
    disable_progress_bar()
    dtype = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
    model = cast(Any, AutoModelForCausalLM.from_pretrained(base, dtype=dtype, trust_remote_code=False))
    without_dropout(model)
    head: Tensor = model.get_output_embeddings().weight
    return PolicyModel(
        model.to(device),
        ChatTokenizer.load(base, template=chat_template, can_say=lambda token: not is_untrained(head, token)),
        memory=memory or Memory(),
        seed=seed,
        workers=workers,
        world=world,
        shard=shard,
    )


def without_dropout(model: nn.Module) -> None:
    """Dropout off for good: probability ratios compare two passes, which noise would make differ."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout") and not isinstance(module.attention_dropout, nn.Module):
            setattr(module, "attention_dropout", 0.0)  # noqa: B010 - not an attribute of every Module
    config: Any = getattr(model, "config", None)
    for key, value in list(vars(config).items()) if config else []:
        if isinstance(value, float) and ("dropout" in key or key.endswith("pdrop")):
            setattr(config, key, 0.0)

"""How the engine is to be run: the options an operator may set, with the defaults that suit a small machine."""

from dataclasses import dataclass
from typing import Literal

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Options of the inference engine."""

    model: str
    """Local folder or hub id."""
    dtype: Dtype = "auto"
    """auto: the checkpoint's own, except that a checkpoint in float32 stays in float32."""
    max_model_len: int | None = None
    """Longest prompt plus answer in tokens; None: what the model was made for, at most 8192."""
    max_num_seqs: int = 128
    """Sequences in one batch."""
    rollout_seqs: int = 96
    """How many of them rollouts may take while nobody chats; chats always find a free place."""
    rollout_seqs_beside_chats: int = 32
    """How many rollouts run while somebody chats: fewer, so that a chat's tokens do not slow down much."""
    kv_cache_bytes: int | None = None
    """Memory for the KV cache; None: 512 MiB for models below 100 MB, 2 GiB else (on a GPU: what vLLM decides)."""
    max_loras: int = 4
    """Adapters in one batch: live, draining, candidate, pinned."""
    max_cpu_loras: int = 16
    """Adapters kept in memory."""
    max_lora_rank: int = 16
    tool_call_parser: str | None = "hermes"
    """vLLM's name of the parser that finds tool calls in an answer; None: `tool_choice: auto` is refused."""
    reasoning_parser: str | None = None
    generation_config: str = "vllm"
    """vllm: nothing is injected; auto: the model's `generation_config.json` sets defaults (recorded per turn)."""
    cpu_threads: int | None = None
    """Threads of the model on a CPU; None: all cores but one, which is left to the API."""
    quiet: bool = True
    """Show only vLLM's errors."""
    extra_args: tuple[str, ...] = ()
    """Further arguments in vLLM's own command-line spelling."""

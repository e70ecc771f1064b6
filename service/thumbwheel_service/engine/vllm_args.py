"""vLLM's own argument namespace and environment, made from our options."""

import logging
import os
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from thumbwheel.errors import ConfigurationError
from thumbwheel.template import PLAIN_CHAT_TEMPLATE, has_chat_template
from thumbwheel_service.engine.options import EngineOptions
from thumbwheel_service.engine.protocol import BASE

PLUGIN = "thumbwheel_lora"
"""Entry point of `vllm_lora`, as pyproject.toml names it."""
CPU_BLOCK = 32
"""Tokens per block of the KV cache: vLLM's 128 on CPUs is longer than most turns, so nothing would be found again."""
SMALL_MODEL_BYTES = 100 << 20
MAX_DEFAULT_LEN = 8192
_CHILDRENS_WARNINGS = "ignore::FutureWarning,ignore::UserWarning:multiprocessing.resource_tracker"


class NotInstalled(ConfigurationError):
    """vLLM's own processes cannot find a part of ours; the message says how to mend it."""


def prepare_environment(options: EngineOptions) -> None:
    """Set what vLLM reads once at import; what the operator has set stays."""
    defaults = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "ERROR" if options.quiet else "INFO",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if options.quiet:
        defaults |= {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": _CHILDRENS_WARNINGS}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if options.quiet:
        for name in ("vllm", "transformers"):
            logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=r"(vllm|torch|transformers|pydantic)(\.|$)")


@contextmanager
def one_engine_process(options: EngineOptions) -> Iterator[None]:
    """On a CPU scheduler and model share one process, which starts faster and talks to nobody between tokens.

    vLLM's second process exists to pin threads to cores; unpinned, several engines can share a machine.
    """
    threads = options.cpu_threads or max(1, len(os.sched_getaffinity(0)) - 1)
    wanted = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": str(threads)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def require_plugin() -> None:
    """Raise `NotInstalled` when vLLM's workers would not find `vllm_lora`: on CPUs chats could get a wrong adapter."""
    installed = {point.name for point in entry_points(group="vllm.general_plugins")}
    allowed = os.environ.get("VLLM_PLUGINS")
    if PLUGIN not in installed:
        raise NotInstalled("the package is on the path but not installed; run `pip install -e .`")
    if allowed is not None and PLUGIN not in allowed.split(","):
        raise NotInstalled(f"VLLM_PLUGINS leaves out {PLUGIN}, without which adapters mix on CPUs; add it")


def weight_bytes(checkpoint: Path) -> int:
    """Size of the safetensors files of a checkpoint."""
    return sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))


def arguments(options: EngineOptions, checkpoint: Path, *, on_cpu: bool) -> Namespace:
    """The namespace that `vllm serve` would have got from the same command line.

    Processed log-probabilities are those of the distribution that was sampled from, after temperature and truncation.
    """
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    argv = ["--model", str(checkpoint), "--served-model-name", BASE]
    argv += ["--generation-config", options.generation_config]
    argv += ["--max-num-seqs", str(options.max_num_seqs)]
    argv += ["--logprobs-mode", "processed_logprobs", "--scheduling-policy", "priority"]
    argv += ["--enable-lora", "--max-loras", str(options.max_loras), "--max-lora-rank", str(options.max_lora_rank)]
    argv += ["--max-cpu-loras", str(max(options.max_loras, options.max_cpu_loras))]
    argv += ["--enable-prefix-caching", "--disable-log-stats", "--disable-uvicorn-access-log"]
    argv += ["--no-use-tqdm-on-load"] if options.quiet else []
    argv += _numerics(options, checkpoint, on_cpu=on_cpu)
    if options.tool_call_parser is not None:
        argv += ["--enable-auto-tool-choice", "--tool-call-parser", options.tool_call_parser]
    if options.reasoning_parser is not None:
        argv += ["--reasoning-parser", options.reasoning_parser]
    if not has_chat_template(checkpoint):
        argv += ["--chat-template", PLAIN_CHAT_TEMPLATE]
    argv += options.extra_args
    parser: Any = make_arg_parser(FlexibleArgumentParser())
    args: Namespace = parser.parse_args(argv)
    validate_parsed_serve_args(args)
    return args


def _numerics(options: EngineOptions, checkpoint: Path, *, on_cpu: bool) -> list[str]:
    length = options.max_model_len or min(MAX_DEFAULT_LEN, _made_for(checkpoint))
    argv = ["--max-model-len", str(length), "--dtype", _dtype(options, checkpoint)]
    kv_bytes = options.kv_cache_bytes
    if kv_bytes is None and on_cpu:
        kv_bytes = (512 << 20) if weight_bytes(checkpoint) < SMALL_MODEL_BYTES else (2 << 30)
    if kv_bytes is not None:
        argv += ["--kv-cache-memory-bytes", str(kv_bytes)]
    if on_cpu:
        # A seeded request whose prefill is cut in two kills vLLM's CPU worker: a CPU generator has no offset to rewind.
        argv += ["--enforce-eager", "--no-enable-chunked-prefill", "--distributed-executor-backend", "uni"]
        argv += ["--block-size", str(CPU_BLOCK)]
    return argv


def _config(checkpoint: Path) -> dict[str, Any]:
    import json

    loaded: dict[str, Any] = json.loads((checkpoint / "config.json").read_text())
    text: dict[str, Any] = loaded.get("text_config") or {}
    return {**loaded, **text}


def _made_for(checkpoint: Path) -> int:
    return int(_config(checkpoint).get("max_position_embeddings") or MAX_DEFAULT_LEN)


def _dtype(options: EngineOptions, checkpoint: Path) -> str:
    """vLLM turns float32 checkpoints into 16 bits under `auto`; ours stay exact."""
    if options.dtype != "auto":
        return options.dtype
    config = _config(checkpoint)
    return "float32" if config.get("dtype", config.get("torch_dtype")) == "float32" else "auto"

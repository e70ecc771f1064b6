"""Is this LoRA adapter one that the engine can serve exactly as it was trained?"""

import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from thumbwheel_service.policies.tensors import BadTensors, Tensor, read_header, require_finite

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MAX_CONFIG = 1 << 20
_NAME = re.compile(r"^base_model\.model\.(?P<module>[A-Za-z0-9_.]+)\.lora_(?P<side>[AB])\.weight$")
_UNSUPPORTED = (
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "layer_replication",
    "use_bdlora",
    "use_qalora",
    "alora_invocation_tokens",
    "target_parameters",
    "rank_pattern",
    "alpha_pattern",
    "megatron_config",
)


class BadAdapter(ValueError):
    """The adapter must not be served; the message says why."""


class AdapterConfig(Struct, frozen=True):
    """The part of PEFT's `adapter_config.json` that decides what the adapter computes."""

    r: int
    lora_alpha: float
    target_modules: list[str]
    peft_type: str = "LORA"
    bias: str = "none"
    use_rslora: bool = False


Shapes = dict[str, set[tuple[int, ...]]]
"""Shapes of a base model's weights (out, in), by the part of their names from `layers.` on."""


def base_shapes(model: Path) -> Shapes:
    """The shapes of a checkpoint; a vision tower may have layers of the same name as the language model."""
    shapes: Shapes = {}
    for path in sorted(model.glob("*.safetensors")):
        for name, tensor in read_header(path).items():
            shapes.setdefault(_from_layers(name), set()).add(tensor.shape)
    return shapes


def check_adapter(folder: Path, *, rank: int, max_rank: int, shapes: Shapes) -> AdapterConfig:
    """Check configuration, names, shapes and numbers of the adapter in `folder`; raises `BadAdapter`.

    `rank` is what the manifest says, `shapes` is `base_shapes` of the served model.
    """
    config = _config(folder / CONFIG)
    if config.r != rank:
        raise BadAdapter(f"the manifest says rank {rank}, {CONFIG} says {config.r}")
    if rank > max_rank:
        raise BadAdapter(f"rank {rank} is above the {max_rank} that the engine was started with")
    try:
        tensors = read_header(folder / WEIGHTS)
        _check_tensors(tensors, config, shapes)
        require_finite(folder / WEIGHTS, tensors)
    except BadTensors as error:
        raise BadAdapter(str(error)) from error
    return config


def serving_config(config: AdapterConfig) -> bytes:
    """The configuration the engine gets to read: what was checked and nothing else."""
    plain: dict[str, Any] = msgspec.to_builtins(config)
    return msgspec.json.encode({**plain, "base_model_name_or_path": None, "inference_mode": True})


def _config(path: Path) -> AdapterConfig:
    if path.stat().st_size > MAX_CONFIG:
        raise BadAdapter(f"{CONFIG} is too large")
    try:
        raw = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        config = msgspec.convert(raw, AdapterConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadAdapter(f"{CONFIG}: {error}") from error
    if config.peft_type != "LORA" or config.bias != "none":
        raise BadAdapter(f"only plain LoRA without bias is served, not {config.peft_type} with bias {config.bias}")
    if used := [name for name in _UNSUPPORTED if raw.get(name)]:
        raise BadAdapter(f"only plain LoRA is served; {CONFIG} sets {', '.join(used)}")
    if config.r < 1 or config.lora_alpha <= 0 or not config.target_modules:
        raise BadAdapter(f"{CONFIG}: r, lora_alpha and target_modules must be set")
    return config


def _check_tensors(tensors: dict[str, Tensor], config: AdapterConfig, shapes: Shapes) -> None:
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.match(name)
        if match is None:
            raise BadAdapter(f"unexpected tensor {name!r}")
        modules.setdefault(match["module"], {})[match["side"]] = tensor
    if not modules:
        raise BadAdapter("the adapter holds no tensors")
    for module, pair in modules.items():
        if module.rsplit(".", 1)[-1] not in {target.rsplit(".", 1)[-1] for target in config.target_modules}:
            raise BadAdapter(f"{module} is not among the target modules of {CONFIG}")
        _check_pair(module, pair, config.r, shapes.get(_from_layers(f"{module}.weight"), set()))


def _check_pair(module: str, pair: dict[str, Tensor], rank: int, base: set[tuple[int, ...]]) -> None:
    """A is (rank, in), B is (out, rank), and (out, in) is the base weight's shape, where it is known by that name."""
    if set(pair) != {"A", "B"} or len(pair["A"].shape) != 2 or len(pair["B"].shape) != 2:
        raise BadAdapter(f"{module} lacks one of its two matrices")
    (low_a, width_in), (width_out, low_b) = pair["A"].shape, pair["B"].shape
    if low_a != rank or low_b != rank:
        raise BadAdapter(f"{module} has rank {low_a} and {low_b}, not {rank}")
    if base and (width_out, width_in) not in base:
        raise BadAdapter(f"{module} is {width_out}x{width_in}, which is not the shape of the base model's weight")


def _from_layers(name: str) -> str:
    """Checkpoints and PEFT put different prefixes before the layers."""
    _, found, rest = name.partition("layers.")
    return found + rest if found else name.rsplit(".", 2)[-2] + ".weight" if "." in name else name

"""Adapters on disk, in the format of PEFT: what vLLM serves, what `peft.PeftModel.from_pretrained` reads.

A folder holds `adapter_config.json` and `adapter_model.safetensors` (float32). Versions are cumulative: each starts
from its parent's weights and applies to the bare base.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.model.lora import LoraConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


class BadAdapter(LearnerError):
    """The folder is not an adapter of this base model; the message says why."""


def write_adapter(
    folder: Path, weights: Mapping[str, tuple[Tensor, Tensor]], config: LoraConfig, *, transposed: bool
) -> None:
    """Write module path -> (A, B) as a PEFT folder, all or nothing: a half-written adapter is never seen.

    The base is named by the manifest, not here: PEFT would look a name up on a hub. `transposed` is PEFT's
    `fan_in_fan_out` (GPT-2). An existing folder is replaced.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    tensors: dict[str, Tensor] = {}
    for path, (a, b) in weights.items():
        tensors[f"{PREFIX}{path}.lora_A.weight"] = a.detach().float().cpu().contiguous()
        tensors[f"{PREFIX}{path}.lora_B.weight"] = b.detach().float().cpu().contiguous()
    save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "inference_mode": True,
        "target_modules": sorted({path.rpartition(".")[2] for path in weights}),
    }
    (temporary / CONFIG).write_text(json.dumps(described, indent=2) + "\n")
    for name in (WEIGHTS, CONFIG):
        with (temporary / name).open("rb") as file:
            os.fsync(file.fileno())
    temporary.chmod(0o755)
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)


def read_config(folder: Path) -> LoraConfig:
    """Rank and alpha of an adapter folder; raises `BadAdapter` when it is none or of a kind we do not train."""
    try:
        described: dict[str, Any] = json.loads((folder / CONFIG).read_text())
        config = LoraConfig(rank=int(described["r"]), alpha=int(described["lora_alpha"]))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadAdapter(f"{folder}: {CONFIG} cannot be used: {error}") from error
    odd = [
        k for k in ("use_rslora", "use_dora", "modules_to_save", "rank_pattern", "alpha_pattern") if described.get(k)
    ]
    if described.get("peft_type") != "LORA" or odd:
        raise BadAdapter(f"{folder}: only plain LoRA can be trained on, this has {odd or described.get('peft_type')}")
    return config


def read_adapter(folder: Path) -> tuple[dict[str, tuple[Tensor, Tensor]], LoraConfig]:
    """Module path -> (A, B), and the config; raises `BadAdapter`."""
    config = read_config(folder)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise BadAdapter(f"{folder}: {WEIGHTS} cannot be read: {error}") from error
    paths = sorted({key.removeprefix(PREFIX).rpartition(".lora_")[0] for key in tensors})
    try:
        weights = {
            p: (tensors[f"{PREFIX}{p}.lora_A.weight"].float(), tensors[f"{PREFIX}{p}.lora_B.weight"].float())
            for p in paths
        }
    except KeyError as error:
        raise BadAdapter(f"{folder}: {WEIGHTS} lacks {error}") from error
    if not all(bool(torch.isfinite(t).all()) for pair in weights.values() for t in pair):
        raise BadAdapter(f"{folder}: {WEIGHTS} holds values that are not finite")
    return weights, config

"""Signed adapters for tests: a minimal PEFT adapter without torch, and artifacts with any flaw a test wants."""

import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from thumbwheel.artifact import ADAPTER_FILES, MANIFEST, Manifest, encode_manifest, sha256_file, sign
from thumbwheel.events import PolicyPublished, now_ms

MODULE = "model.layers.0.self_attn.q_proj"


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], *, dtype: str = "F32") -> None:
    """A safetensors file by the book; BF16 arrays are given as their 16 raw bits."""
    header: dict[str, Any] = {}
    data = b""
    for name, array in tensors.items():
        raw = array.tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)


def write_base(folder: Path, *, width: int = 8) -> Path:
    """A checkpoint with one projection of `width` x `width`: enough to have a fingerprint and shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": width}))
    write_safetensors(folder / "model.safetensors", {f"{MODULE}.weight": np.zeros((width, width), np.float32)})
    return folder


def write_adapter(folder: Path, *, width: int = 8, rank: int = 2, fill: float = 0.5, **config: Any) -> Path:
    """A LoRA adapter for `write_base`'s projection."""
    folder.mkdir(parents=True, exist_ok=True)
    base = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps({**base, **config}))
    tensors = {
        f"base_model.model.{MODULE}.lora_A.weight": np.full((rank, width), fill, np.float32),
        f"base_model.model.{MODULE}.lora_B.weight": np.full((width, rank), fill, np.float32),
    }
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    return folder


def write_artifact(
    store: Path, artifact: str, adapter: Path, key: bytes, *, version: str, base_model: str, **fields: Any
) -> Path:
    """Put a signed artifact into the store; `fields` overrides the manifest's."""
    folder = store / artifact
    folder.mkdir(parents=True, exist_ok=True)
    for name in ADAPTER_FILES:
        (folder / name).write_bytes((adapter / name).read_bytes())
    manifest = Manifest(
        version=version,
        parent=fields.pop("parent", "base"),
        base_model=base_model,
        rank=fields.pop("rank", json.loads((folder / "adapter_config.json").read_text())["r"]),
        created_ms=now_ms(),
        files={name: sha256_file(folder / name) for name in ADAPTER_FILES},
    )
    manifest = msgspec.structs.replace(manifest, **fields)
    (folder / MANIFEST).write_bytes(encode_manifest(sign(manifest, key)))
    return folder


def published(store: Path, version: str, artifact: str | None = None, promote: str = "auto") -> PolicyPublished:
    """The event that offers an artifact."""
    artifact = artifact or version
    return PolicyPublished(
        version=version,
        artifact=artifact,
        manifest_sha256=sha256_file(store / artifact / MANIFEST),
        created_ms=now_ms(),
        promote=promote,  # type: ignore[arg-type]
    )

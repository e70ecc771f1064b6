"""An adapter is served only if it is plain LoRA that fits the base and holds finite numbers."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.adapters import MODULE, write_adapter, write_base, write_safetensors

from thumbwheel_service.policies.adapter import BadAdapter, base_shapes, check_adapter, serving_config
from thumbwheel_service.policies.tensors import BadTensors, read_header, require_finite

A, B = f"base_model.model.{MODULE}.lora_A.weight", f"base_model.model.{MODULE}.lora_B.weight"


@pytest.fixture
def shapes(tmp_path: Path) -> dict[str, set[tuple[int, ...]]]:
    return base_shapes(write_base(tmp_path / "base"))


def test_a_plain_adapter_passes(tmp_path: Path, shapes: Any) -> None:
    config = check_adapter(write_adapter(tmp_path / "a"), rank=2, max_rank=16, shapes=shapes)
    assert (config.r, config.lora_alpha, config.target_modules) == (2, 4, ["q_proj"])


def test_the_engine_reads_only_what_was_checked(tmp_path: Path, shapes: Any) -> None:
    folder = write_adapter(tmp_path / "a", base_model_name_or_path="/etc", auto_mapping={"parent_library": "x"})
    given = json.loads(serving_config(check_adapter(folder, rank=2, max_rank=16, shapes=shapes)))
    assert given["base_model_name_or_path"] is None
    assert "auto_mapping" not in given
    assert (given["r"], given["lora_alpha"], given["use_rslora"]) == (2, 4, False)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        pytest.param({"peft_type": "IA3"}, "plain LoRA", id="not LoRA"),
        pytest.param({"bias": "all"}, "bias", id="bias"),
        pytest.param({"use_dora": True}, "use_dora", id="DoRA"),
        pytest.param({"modules_to_save": ["lm_head"]}, "modules_to_save", id="whole modules"),
        pytest.param({"rank_pattern": {"q_proj": 64}}, "rank_pattern", id="other ranks inside"),
        pytest.param({"target_modules": []}, "target_modules", id="no targets"),
        pytest.param({"target_modules": ["v_proj"]}, "not among the target modules", id="other targets"),
        pytest.param({"r": "2"}, "adapter_config.json", id="wrong type"),
        pytest.param({"r": 4}, "rank 2, adapter_config.json says 4", id="another rank than the manifest's"),
    ],
)
def test_a_configuration_that_is_not_served(tmp_path: Path, shapes: Any, config: dict[str, Any], reason: str) -> None:
    folder = write_adapter(tmp_path / "a", **config)
    with pytest.raises(BadAdapter, match=reason):
        check_adapter(folder, rank=2, max_rank=16, shapes=shapes)


def test_a_rank_above_the_engines(tmp_path: Path, shapes: Any) -> None:
    with pytest.raises(BadAdapter, match="rank 32 is above the 16"):
        check_adapter(write_adapter(tmp_path / "a", rank=32), rank=32, max_rank=16, shapes=shapes)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        pytest.param({}, "no tensors", id="empty"),
        pytest.param({A: ones(2, 8)}, "lacks one", id="only A"),
        pytest.param({A: ones(3, 8), B: ones(8, 3)}, "rank 3 and 3, not 2", id="another rank"),
        pytest.param({A: ones(2, 16), B: ones(8, 2)}, "not the shape", id="too wide in"),
        pytest.param({A: ones(2, 8), B: ones(4, 2)}, "not the shape", id="too narrow out"),
        pytest.param({A: ones(16), B: ones(8, 2)}, "lacks one", id="flat"),
        pytest.param({A: ones(2, 8), B: ones(8, 2), "lm_head.weight": ones(1, 1)}, "unexpected", id="something else"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, shapes: Any, tensors: dict[str, np.ndarray], reason: str) -> None:
    folder = write_adapter(tmp_path / "a")
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    with pytest.raises(BadAdapter, match=reason):
        check_adapter(folder, rank=2, max_rank=16, shapes=shapes)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_numbers_that_are_not_finite(tmp_path: Path, value: float, dtype: str) -> None:
    path = tmp_path / "t.safetensors"
    numbers = np.array([[1.0, 2.0], [value, 3.0]], np.float32)
    array = {"F32": numbers, "F16": numbers.astype(np.float16), "BF16": (numbers.view(np.uint32) >> 16).astype("<u2")}
    write_safetensors(path, {"x": array[dtype]}, dtype=dtype)
    with pytest.raises(BadTensors, match="x holds NaN or infinity"):
        require_finite(path, read_header(path))


def test_finite_numbers_of_every_dtype(tmp_path: Path) -> None:
    numbers = np.array([[1.0, -65504.0]], np.float32)
    for dtype, array in (
        ("F32", numbers),
        ("F16", numbers.astype(np.float16)),
        ("BF16", (numbers.view(np.uint32) >> 16).astype("<u2")),
    ):
        path = tmp_path / f"{dtype}.safetensors"
        write_safetensors(path, {"x": array}, dtype=dtype)
        require_finite(path, read_header(path))


def test_a_dtype_that_is_not_served(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    write_safetensors(path, {"x": np.ones((2,), np.int64)}, dtype="I64")
    with pytest.raises(BadTensors, match="I64"):
        require_finite(path, read_header(path))


def rewrite(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def spoil(raw: bytes) -> bytes:
        (length,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + length])
        change(header)
        encoded = json.dumps(header).encode()
        return struct.pack("<Q", len(encoded)) + encoded + raw[8 + length :]

    return spoil


def overlap(header: dict[str, Any]) -> None:
    header[B]["data_offsets"] = header[A]["data_offsets"]


def grow(header: dict[str, Any]) -> None:
    header[A]["shape"] = [2, 9]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda raw: b"", id="empty"),
        pytest.param(lambda raw: raw[:4], id="no header"),
        pytest.param(lambda raw: struct.pack("<Q", 1 << 60) + raw[8:], id="endless header"),
        pytest.param(lambda raw: raw[:-1], id="cut off"),
        pytest.param(lambda raw: raw + b"x", id="too long"),
        pytest.param(lambda raw: raw[:8] + b"\xff" * 40 + raw[48:], id="no JSON"),
        pytest.param(rewrite(overlap), id="overlapping"),
        pytest.param(rewrite(grow), id="a shape that does not fit its bytes"),
    ],
)
def test_a_file_that_is_not_what_it_says(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = write_adapter(tmp_path / "a") / "adapter_model.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(BadTensors):
        read_header(path)


def test_every_header_that_safetensors_writes_is_read(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "t.safetensors"
    save_file({"b": ones(2, 3), "a": np.ones((4,), np.float16)}, path, metadata={"format": "pt"})
    found = read_header(path)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()} == {
        "a": ("F16", (4,)),
        "b": ("F32", (2, 3)),
    }
    require_finite(path, found)

"""Read safetensors files without any framework: the header with bounds, the numbers only to see that they are finite.

Layout (safetensors' own documentation): 8 bytes little-endian header length, a JSON header of
`name -> {dtype, shape, data_offsets}`, then the data, without gaps.
"""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

MAX_HEADER = 16 << 20
WIDTHS = {"F32": 4, "F16": 2, "BF16": 2}
_PIECE = 1 << 22


class BadTensors(ValueError):
    """The file is not what its header says, or holds what must not be served; the message says what."""


class Tensor(Struct, frozen=True):
    """One entry of a header; `begin` and `end` count from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Entry(Struct, frozen=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def read_header(path: Path) -> dict[str, Tensor]:
    """Every tensor's place, in the order of the data; raises `BadTensors`."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise BadTensors(f"{path.name} is cut off or no safetensors file")
        raw = file.read(length)
    try:
        entries: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
        entries.pop("__metadata__", None)
        parsed = {name: msgspec.convert(entry, _Entry) for name, entry in entries.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadTensors(f"{path.name}: the header does not parse: {error}") from error
    start = 8 + length
    tensors = {
        name: Tensor(e.dtype, tuple(e.shape), start + e.data_offsets[0], start + e.data_offsets[1])
        for name, e in sorted(parsed.items(), key=lambda item: item[1].data_offsets)
    }
    _check_offsets(path.name, tensors, start, size)
    return tensors


def _check_offsets(file: str, tensors: dict[str, Tensor], start: int, size: int) -> None:
    reached = start
    for name, tensor in tensors.items():
        if tensor.begin != reached or tensor.end < tensor.begin:
            raise BadTensors(f"{file}: {name} overlaps its neighbour or leaves a gap")
        width = WIDTHS.get(tensor.dtype)
        if width is not None and (
            any(n < 0 for n in tensor.shape) or tensor.end - tensor.begin != width * math.prod(tensor.shape)
        ):
            raise BadTensors(f"{file}: {name} has another size than its shape says")
        reached = tensor.end
    if reached != size:
        raise BadTensors(f"{file} is cut off, or longer than its header says")


def require_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    """Raise `BadTensors` on a dtype that is not F32, F16 or BF16, and on any NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.dtype not in WIDTHS:
            raise BadTensors(f"{name} has dtype {tensor.dtype}; adapters are F32, F16 or BF16")
    with path.open("rb") as file:
        for name, tensor in tensors.items():
            file.seek(tensor.begin)
            left = tensor.end - tensor.begin
            while left:
                piece = file.read(min(_PIECE, left))
                if not piece:
                    raise BadTensors(f"{path.name} is cut off")
                left -= len(piece)
                if not _is_finite(piece, tensor.dtype):
                    raise BadTensors(f"{name} holds NaN or infinity")


def _is_finite(piece: bytes, dtype: str) -> bool:
    if dtype == "BF16":
        exponents = np.frombuffer(piece, dtype="<u2") & 0x7F80
        return not bool((exponents == 0x7F80).any())
    return bool(np.isfinite(np.frombuffer(piece, dtype="<f4" if dtype == "F32" else "<f2")).all())

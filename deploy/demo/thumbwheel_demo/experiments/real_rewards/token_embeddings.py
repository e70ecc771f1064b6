"""What a pretrained model's embeddings alone say of a text: seconds where reading it takes an hour.

Averages that count rare words more (Arora et al. 2017, "A simple but tough-to-beat baseline for sentence embeddings").
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (safetensors and tokenizers are partly untyped; what leaves this file is typed)

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer

Array = NDArray[np.float64]
Ids = NDArray[np.int64]
COMMON = 1e-3
"""A word of this frequency counts half (Arora et al.: 1e-4 to 1e-3)."""
EMBEDDINGS = "model.embed_tokens.weight"


class TokenEmbeddings:
    """The embeddings of a checkpoint folder in one safetensors file, with its tokenizer."""

    def __init__(self, folder: Path) -> None:
        """Raises `FileNotFoundError` when `tokenizer.json` or `model.safetensors` is not there."""
        for name in ("tokenizer.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name} is not there")
        self._tokens = Tokenizer.from_file(str(folder / "tokenizer.json"))
        with safe_open(folder / "model.safetensors", framework="pt") as held:
            self._table: Any = held.get_tensor(EMBEDDINGS)

    def features(self, prompts: Sequence[str], answers: Sequence[str]) -> Array:
        """[N, width + 1] the mean embedding of every answer and its cosine to that of the last turn of the prompt."""
        said = [self._ids(text) for text in answers]
        frequency = np.bincount(np.concatenate(said), minlength=len(self._table)) / sum(map(len, said))
        weights = COMMON / (COMMON + frequency)
        found = np.stack([self._mean(ids, weights) for ids in said])
        usual = found.mean(axis=0)
        asked = {text: self._mean(self._ids(last_turn(text)), weights) - usual for text in dict.fromkeys(prompts)}
        turns = np.stack([asked[text] for text in prompts])
        return np.column_stack([found, _cosine(found - usual, turns)])

    def _ids(self, text: str) -> Ids:
        return np.array(self._tokens.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def _mean(self, ids: Ids, weights: Array) -> Array:
        if not len(ids):
            return np.zeros(self._table.shape[1])
        rows = cast(Array, self._table[ids].double().numpy())
        return weights[ids] @ rows / weights[ids].sum()


def last_turn(prompt: str) -> str:
    """What a person said last."""
    return prompt.rpartition("\n\nHuman:")[2].removesuffix("\n\nAssistant:").strip()


def _cosine(one: Array, other: Array) -> Array:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / np.maximum(lengths, 1e-9)

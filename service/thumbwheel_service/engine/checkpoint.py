"""Find the checkpoint to serve: a local folder, or a hub id that is fetched (safetensors and JSON only)."""

import re
from pathlib import Path
from typing import Any

from thumbwheel.errors import ConfigurationError

_WANTED = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt", "*.tiktoken"]
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.\-]*(/[\w.\-]+)?$")


class ModelNotFound(ConfigurationError):
    """There is no such checkpoint, or it is not one that can be served; the message says what is missing."""


def resolve_checkpoint(model: str) -> Path:
    """The folder of the checkpoint; raises `ModelNotFound`. Nothing but safetensors weights is accepted."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if not _HUB_ID.match(model):
            raise ModelNotFound(f"{model}: there is no such folder")
        folder = _fetch(model)
    folder = folder.resolve()
    if not (folder / "config.json").is_file():
        raise ModelNotFound(f"{folder}: no config.json, so this is not a transformers checkpoint")
    if not any(folder.glob("*.safetensors")):
        raise ModelNotFound(f"{folder}: no *.safetensors weights (other formats can carry code and are not read)")
    return folder


def _fetch(model: str) -> Path:
    import huggingface_hub

    hub: Any = huggingface_hub
    try:
        return Path(hub.snapshot_download(model, allow_patterns=_WANTED))
    except Exception as error:  # the hub client raises a dozen kinds for: not there, not allowed, no network
        raise ModelNotFound(f"{model}: no such folder, and the hub did not give it: {error}") from error

"""The base model on disk: where it lies, and what identifies it."""

import re
from pathlib import Path

from thumbwheel.errors import ConfigurationError

_WANTED = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt", "*.tiktoken"]
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.\-]*(/[\w.\-]+)?$")


class BaseNotFound(ConfigurationError):
    """There is no such checkpoint; the message says what is missing."""


def resolve_base(model: str, *, setting: str = "THUMBWHEEL_MODEL") -> Path:
    """The folder of a checkpoint given as a path or a hub id, by this `setting`; raises `BaseNotFound`."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if not _HUB_ID.match(model):
            raise BaseNotFound(f"{setting}={model}: there is no such folder")
        folder = _fetch(model, setting)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise BaseNotFound(f"{setting}={model}: {folder} has no config.json or no *.safetensors weights")
    return folder.resolve()


def _fetch(model: str, setting: str) -> Path:
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]

    try:
        return Path(snapshot_download(model, allow_patterns=_WANTED))
    except Exception as error:  # the hub client raises a dozen kinds for: not there, not allowed, no network
        raise BaseNotFound(f"{setting}={model}: no such folder, and no hub gave it: {error}") from error

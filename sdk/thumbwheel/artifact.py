"""Policy artifacts: a LoRA adapter, its manifest and the signature that makes it trusted.

Layout, below the artifact store (one folder per version, never rewritten):

    <version>/adapter_config.json  adapter_model.safetensors  manifest.json

The learner writes the folder under a temporary name, fsyncs, writes the manifest last and renames; the service reads
nothing of it before the signature and every digest agree.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from thumbwheel.errors import ConfigurationError, ThumbwheelError

MANIFEST = "manifest.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


class ArtifactError(ThumbwheelError):
    """The artifact must not be served; the message says why."""


class Unsigned(ArtifactError):
    """No signature, or one made with another key."""


class Corrupt(ArtifactError):
    """A file is missing, truncated, oversized or has another digest."""


class OutsideStore(ArtifactError):
    """The path leaves the artifact store or passes through a link."""


class Manifest(Struct, frozen=True, kw_only=True):
    """Provenance of a version: everything needed to say where its behaviour came from."""

    version: str
    parent: str
    base_model: str
    """Fingerprint of the base model: sha256 over its config and weight headers, see `base_fingerprint`."""
    rank: int
    created_ms: int
    files: dict[str, str]
    """sha256 per file name."""
    snapshot: dict[str, Any] = {}
    """Dataset snapshot: hash, counts, and where its event ids are listed."""
    reward_model: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    verdict: dict[str, Any] = {}
    schema_version: int = 1
    signature: str = ""


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def base_fingerprint(model: Path) -> str:
    """Identify a base checkpoint by its config and by the name, size and header of every safetensors file.

    Headers carry names, dtypes and shapes; together with the first megabyte of data they tell apart any two
    checkpoints met in practice, without reading gigabytes at every start.
    """
    digest = hashlib.sha256()
    config = msgspec.json.decode((model / "config.json").read_bytes())
    for volatile in ("_name_or_path", "transformers_version"):
        config.pop(volatile, None)
    digest.update(msgspec.json.encode(config, order="sorted"))
    for path in sorted(model.glob("*.safetensors")):
        digest.update(f"{path.name}:{path.stat().st_size}:".encode())
        with path.open("rb") as file:
            digest.update(file.read(1 << 20))
    return digest.hexdigest()


def signing_key(path: Path) -> bytes:
    """The key that service and learner share, from `path`; made there (mode 0600) by whichever of them starts first.

    Raises `ConfigurationError` when the file holds no key of at least 32 characters.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(beside)
        beside.unlink()
    key = path.read_bytes().strip()
    if len(key) < 32:
        raise ConfigurationError(f"{path} holds no signing key of at least 32 characters; remove it to have one made")
    return key


def sign(manifest: Manifest, key: bytes) -> Manifest:
    """The manifest with its HMAC-SHA256 over everything but the signature."""
    return msgspec.structs.replace(manifest, signature=_mac(manifest, key))


def _mac(manifest: Manifest, key: bytes) -> str:
    body = msgspec.json.encode(msgspec.structs.replace(manifest, signature=""), order="sorted")
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`, readable by people too."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"


def read_verified(store: Path, artifact: str, key: bytes) -> tuple[Path, Manifest]:
    """Open `store/artifact` only if it lies inside the store, is signed, and every file has the signed digest.

    Raises `OutsideStore`, `Corrupt`, `Unsigned`.
    """
    folder = inside(store, artifact)
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise Corrupt(f"{artifact}: no {MANIFEST}") from error
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{artifact}: {MANIFEST} does not parse: {error}") from error
    if not manifest.signature:
        raise Unsigned(f"{artifact}: the manifest carries no signature")
    if not hmac.compare_digest(manifest.signature, _mac(manifest, key)):
        raise Unsigned(f"{artifact}: the signature does not match the signing key")
    if set(manifest.files) != set(ADAPTER_FILES):
        raise Corrupt(f"{artifact}: the manifest lists {sorted(manifest.files)}, expected {sorted(ADAPTER_FILES)}")
    for name, expected in manifest.files.items():
        path = inside(store, f"{artifact}/{name}")
        if not path.is_file():
            raise Corrupt(f"{artifact}: {name} is missing")
        if sha256_file(path) != expected:
            raise Corrupt(f"{artifact}: {name} has another sha256 than the manifest says")
    return folder, manifest


def inside(store: Path, relative: str) -> Path:
    """Resolve a path below the store; raises `OutsideStore` when it leaves it or passes through a symbolic link."""
    root = store.resolve()
    path = root / relative
    if Path(relative).is_absolute() or ".." in Path(relative).parts or path.resolve() != path:
        raise OutsideStore(f"{relative!r} is not a plain path inside the artifact store")
    return path

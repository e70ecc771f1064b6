"""From the artifact store to a private folder: everything is checked on the bytes that will be served."""

import errno
import hashlib
import itertools
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from thumbwheel.artifact import ADAPTER_FILES, MANIFEST, ArtifactError, Manifest, read_verified, sha256_file
from thumbwheel_service.engine.protocol import BASE, EngineDown, ModelInfo
from thumbwheel_service.errors import Unavailable, Unprocessable
from thumbwheel_service.policies.adapter import CONFIG, BadAdapter, Shapes, base_shapes, check_adapter, serving_config
from thumbwheel_service.policies.tensors import BadTensors

_VERSION = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.:@+\-]{0,127}\Z")

_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)


class Rejected(Unprocessable):
    """The artifact must not be served; the message says why."""

    code = "artifact_rejected"


class NoRoom(Unavailable):
    """The disk has no room for a copy, or fails; the artifact may be fine."""

    code = "no_room"


class Fetched(NamedTuple):
    """A checked adapter in a folder of its own, which nobody else writes."""

    manifest: Manifest
    folder: Path
    engine_name: str


class _Opened(NamedTuple):
    info: ModelInfo
    shapes: Shapes


class ArtifactShelf:
    """Fetches adapters for the served model from `store` into folders below `private`, which it owns.

    `key` signs manifests; versions must not be called `reserved` names (the alias). Blocking: call it in a thread.
    """

    def __init__(self, store: Path, private: Path, key: bytes, *, reserved: frozenset[str] = frozenset()) -> None:
        self._store = store
        self._private = private
        self._key = key
        self._reserved = reserved | {BASE}
        self._serial = itertools.count(1)
        self._opened: _Opened | None = None

    def open(self, info: ModelInfo) -> None:
        """Say which model is served, and remove what an earlier process left behind."""
        shutil.rmtree(self._private, ignore_errors=True)
        self._private.mkdir(parents=True)
        self._opened = _Opened(info, base_shapes(info.path))

    def fetch(self, artifact: str, *, version: str | None = None, manifest_sha256: str | None = None) -> Fetched:
        """Verify and copy an artifact; raises `Rejected`, `NoRoom`, `EngineDown`.

        Signature, digests, version, base model, rank, names, shapes and numbers are checked; the copy is checked
        again, so that what changes in the store meanwhile is never served.
        """
        if self._opened is None:
            raise EngineDown("the model is still loading")
        info, shapes = self._opened
        serial = next(self._serial)
        folder = self._private / f"{serial:06d}"
        try:
            source, manifest = read_verified(self._store, artifact, self._key)
            if manifest_sha256 is not None and sha256_file(source / MANIFEST) != manifest_sha256:
                raise Rejected("the manifest is not the one that was published")
            self._check_manifest(manifest, version, info)
            self._copy(source, folder, manifest)
            config = check_adapter(folder, rank=manifest.rank, max_rank=info.max_lora_rank, shapes=shapes)
            (folder / CONFIG).write_bytes(serving_config(config))
        except (ArtifactError, BadAdapter, BadTensors) as error:
            self.discard(folder)
            raise Rejected(str(error)) from error
        except Rejected:
            self.discard(folder)
            raise
        except OSError as error:
            self.discard(folder)
            if error.errno in _PASSING:
                raise NoRoom(f"{artifact} cannot be copied now: {error.strerror}") from error
            raise Rejected(f"{artifact} cannot be read: {error.strerror}") from error
        return Fetched(manifest, folder, f"{manifest.version}@{serial}")

    def discard(self, folder: Path) -> None:
        """Remove a private copy."""
        if folder.parent == self._private:
            shutil.rmtree(folder, ignore_errors=True)

    def _check_manifest(self, manifest: Manifest, version: str | None, info: ModelInfo) -> None:
        if version is not None and manifest.version != version:
            raise Rejected(f"the manifest is of version {manifest.version!r}, not {version!r}")
        if not _VERSION.match(manifest.version) or manifest.version in self._reserved:
            raise Rejected(f"{manifest.version!r} cannot be the name of a version")
        if manifest.base_model != info.fingerprint:
            raise Rejected("the adapter was trained on another base model than the one that is served")

    def _copy(self, source: Path, folder: Path, manifest: Manifest) -> None:
        folder.mkdir()
        for name in ADAPTER_FILES:
            digest = hashlib.sha256()
            with (source / name).open("rb") as reading, (folder / name).open("wb") as writing:
                while piece := reading.read(1 << 20):
                    digest.update(piece)
                    writing.write(piece)
            if digest.hexdigest() != manifest.files[name]:
                raise Rejected(f"{name} changed while it was read")

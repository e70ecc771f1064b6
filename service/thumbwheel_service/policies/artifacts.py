"""From the artifact store to a private folder: everything is checked on the bytes that will be served."""

import hashlib
import itertools
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from thumbwheel.artifact import ADAPTER_FILES, MANIFEST, ArtifactError, Manifest, read_verified, sha256_file
from thumbwheel_service.engine.protocol import BASE, ModelInfo
from thumbwheel_service.errors import Unprocessable
from thumbwheel_service.policies.adapter import CONFIG, BadAdapter, base_shapes, check_adapter, serving_config
from thumbwheel_service.policies.tensors import BadTensors

_VERSION = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.:@+\-]{0,127}\Z")


class Rejected(Unprocessable):
    """The artifact must not be served; the message says why."""

    code = "artifact_rejected"


class Fetched(NamedTuple):
    """A checked adapter in a folder of its own, which nobody else writes."""

    manifest: Manifest
    folder: Path
    engine_name: str


class ArtifactShelf:
    """Fetches adapters for one served model. Blocking: call it in a thread."""

    def __init__(self, store: Path, private: Path, key: bytes, info: ModelInfo, *, reserved: frozenset[str]) -> None:
        self._store = store
        self._private = private
        self._key = key
        self._info = info
        self._reserved = reserved | {BASE}
        self._shapes = base_shapes(info.path)
        self._serial = itertools.count(1)
        shutil.rmtree(private, ignore_errors=True)
        private.mkdir(parents=True)

    def fetch(self, artifact: str, *, version: str | None = None, manifest_sha256: str | None = None) -> Fetched:
        """Verify and copy an artifact; raises `Rejected`.

        Signature, digests, version, base model, rank, names, shapes and numbers are checked; the copy is checked
        again, so that what changes in the store meanwhile is never served.
        """
        serial = next(self._serial)
        folder = self._private / f"{serial:06d}"
        try:
            source, manifest = read_verified(self._store, artifact, self._key)
            if manifest_sha256 is not None and sha256_file(source / MANIFEST) != manifest_sha256:
                raise Rejected("the manifest is not the one that was published")
            self._check_manifest(manifest, version)
            self._copy(source, folder, manifest)
            config = check_adapter(folder, rank=manifest.rank, max_rank=self._info.max_lora_rank, shapes=self._shapes)
            (folder / CONFIG).write_bytes(serving_config(config))
        except (ArtifactError, BadAdapter, BadTensors) as error:
            self.discard(folder)
            raise Rejected(str(error)) from error
        except Rejected:
            self.discard(folder)
            raise
        except OSError as error:
            self.discard(folder)
            raise Rejected(f"{artifact} cannot be read: {error.strerror}") from error
        return Fetched(manifest, folder, f"{manifest.version}@{serial}")

    def discard(self, folder: Path) -> None:
        """Remove a private copy."""
        if folder.parent == self._private:
            shutil.rmtree(folder, ignore_errors=True)

    def _check_manifest(self, manifest: Manifest, version: str | None) -> None:
        if version is not None and manifest.version != version:
            raise Rejected(f"the manifest is of version {manifest.version!r}, not {version!r}")
        if not _VERSION.match(manifest.version) or manifest.version in self._reserved:
            raise Rejected(f"{manifest.version!r} cannot be the name of a version")
        if manifest.base_model != self._info.fingerprint:
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

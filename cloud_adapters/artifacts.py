"""Artifacts in object stores: published to be seen whole or not at all, and read so that every byte is checked.

The order is the protocol: a prefix that is never used twice, the files, then `manifest.json`, create-only, as the last.
Who finds no manifest finds nothing. Only after that does the caller write the database row that readers follow.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from cloud_adapters.base import CHUNK_BYTES, ObjectStore
from orchestrator.domain.artifact import MANIFEST_NAME, Manifest, ManifestFile
from orchestrator.domain.errors import CorruptArtifact

MAX_MANIFEST_BYTES = 64 * 1024**2


class _Hashing:
    """Passes a file's bytes on and hashes them, so that what was sent is what was hashed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sha256 = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                self._sha256.update(chunk)
                self.size += len(chunk)
                yield chunk

    @property
    def digest(self) -> str:
        """The SHA-256 of what has passed, in hex."""
        return self._sha256.hexdigest()


def publish(store: ObjectStore, prefix: str, folder: Path) -> Manifest:
    """Write the files below `folder` as an artifact at `prefix`. Raises PreconditionFailed when one is there."""
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        stream = _Hashing(path)
        entry = ManifestFile(path=name, size=0, sha256="0" * 64)  # refuses a bad name before a byte is sent
        store.put(f"{prefix}/{name}", stream)
        files.append(entry.model_copy(update={"size": stream.size, "sha256": stream.digest}))
    manifest = Manifest.of(files)
    store.put(f"{prefix}/{MANIFEST_NAME}", [manifest.to_bytes()], create_only=True)
    return manifest


def read_manifest(store: ObjectStore, prefix: str) -> Manifest:
    """The manifest at `prefix`. Raises ObjectNotFound when the artifact was never finished, CorruptArtifact when what
    lies there is no manifest."""
    key = f"{prefix}/{MANIFEST_NAME}"
    if store.head(key).size > MAX_MANIFEST_BYTES:
        raise CorruptArtifact(f"The manifest at {prefix} is larger than any manifest.")
    try:
        return Manifest.model_validate(json.loads(b"".join(store.get(key))))
    except (ValueError, ValidationError) as error:
        raise CorruptArtifact(
            f"What lies at {key} is not a manifest.", hint="The copy is damaged; use another."
        ) from error


def open_file(store: ObjectStore, prefix: str, path: str) -> Iterator[bytes]:
    """The bytes of one file of an artifact, unchecked: compare them with the manifest."""
    return store.get(f"{prefix}/{path}")


def fetch(store: ObjectStore, prefix: str, digest: str, folder: Path) -> Manifest:
    """Copy the artifact whose manifest has this SHA-256 to `folder`, which must not exist and appears whole or not at
    all. Raises CorruptArtifact when a byte differs."""
    manifest = read_manifest(store, prefix)
    if manifest.digest != digest:
        raise CorruptArtifact(f"The manifest at {prefix} is not the one that was published.", hint="Use another copy.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for file in manifest.files:
            _fetch_file(store, prefix, file, partial / file.path)
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def _fetch_file(store: ObjectStore, prefix: str, file: ManifestFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    sha256, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        for chunk in open_file(store, prefix, file.path):
            size += len(chunk)
            if size > file.size:
                break
            sha256.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if size != file.size or sha256.hexdigest() != file.sha256:
        raise CorruptArtifact(
            f"{file.path} at {prefix} is not what was published: its bytes differ.",
            hint="The copy is damaged; use another.",
        )


def discard(store: ObjectStore, prefix: str) -> None:
    """Remove an artifact: the manifest first, so that nobody sees half of it."""
    store.delete(f"{prefix}/{MANIFEST_NAME}")
    for found in list(store.list(prefix)):
        store.delete(found.key)

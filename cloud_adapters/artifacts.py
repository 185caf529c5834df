"""Artifacts in a store: files first, `manifest.json` last and create-only, every byte checked on the way back.

A prefix is used once. Until its manifest exists nobody can see the artifact; `discard` removes the manifest first.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from cloud_adapters.base import MIB, ObjectStore, join_key
from cloud_adapters.errors import PreconditionFailed
from cloud_adapters.retrying import read_whole
from cloud_adapters.streams import VerifyingReader, put_file
from orchestrator.domain.artifact import MANIFEST_NAME, Manifest, ManifestFile
from orchestrator.domain.errors import CorruptArtifact, InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = 8
MAX_MANIFEST = 64 * MIB


def publish(store: ObjectStore, prefix: str, folder: Path) -> Manifest:
    """Uploads every file below `folder` to `prefix` and makes the artifact visible; returns its manifest.

    Files are hashed while they are read for the upload. Publishing the same content to the same prefix again is no
    error, so a retry is safe; other content raises PreconditionFailed.
    """
    names = [file.path for file in _foreseen(folder)]

    def one(name: str) -> ManifestFile:
        digest, size = put_file(store, join_key(prefix, name), folder / name)
        return ManifestFile(path=name, size=size, sha256=digest)

    with ThreadPoolExecutor(THREADS, thread_name_prefix="publish") as pool:
        manifest = Manifest.of(list(pool.map(one, names)))
    commit_manifest(store, prefix, manifest)
    return manifest


def describe(folder: Path) -> Manifest:
    """The manifest of the files below `folder`, as they are now. Raises InvalidSpec for a link, for no folder, and for
    names or numbers of files that no manifest holds."""

    def one(file: ManifestFile) -> ManifestFile:
        with (folder / file.path).open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            return ManifestFile(path=file.path, size=content.tell(), sha256=digest)

    with ThreadPoolExecutor(THREADS, thread_name_prefix="describe") as pool:
        return Manifest.of(list(pool.map(one, _foreseen(folder))))


def commit_manifest(store: ObjectStore, prefix: str, manifest: Manifest) -> None:
    """Makes the artifact visible. All its files must be in place and verified; the manifest is never overwritten.

    Raises PreconditionFailed when another manifest is there already, and InvalidSpec for one too large to be read.
    """
    data = _to_bytes(manifest)
    try:
        store.put(join_key(prefix, MANIFEST_NAME), data, create_only=True)
    except PreconditionFailed as error:
        if read_manifest(store, prefix).digest != manifest.digest:
            raise PreconditionFailed(
                f"{prefix!r} already holds another artifact", hint="Publish to a prefix that was never used."
            ) from error


def read_manifest(store: ObjectStore, prefix: str) -> Manifest:
    """The manifest at `prefix`. Raises ObjectNotFound for an unfinished artifact, CorruptArtifact for a damaged one."""
    key = join_key(prefix, MANIFEST_NAME)
    return parse_manifest(bytes(read_whole(store, key, most=MAX_MANIFEST) or b""), key)


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in `data`; CorruptArtifact when it is not one, or not in its canonical form."""
    try:
        manifest = Manifest.model_validate_json(data)
    except (ValidationError, InvalidSpec) as error:
        raise CorruptArtifact(f"{where} is not a manifest: {error}") from error
    if manifest.to_bytes() != data:
        raise CorruptArtifact(f"{where} is not in its canonical form")
    return manifest


def open_verified(store: ObjectStore, prefix: str, file: ManifestFile) -> VerifyingReader:
    """A stream of `file` that checks size and SHA-256, and goes on where it was when a connection breaks."""
    return VerifyingReader(store, join_key(prefix, file.path), file)


def discard(store: ObjectStore, prefix: str) -> None:
    """Removes the artifact: the manifest first, so that nobody starts to read it, then every file below `prefix`."""
    store.delete(join_key(prefix, MANIFEST_NAME))
    with ThreadPoolExecutor(THREADS, thread_name_prefix="discard") as pool:
        list(pool.map(store.delete, list(list_keys(store, f"{join_key(prefix)}/" if prefix else ""))))


def list_keys(store: ObjectStore, prefix: str) -> Iterator[str]:
    """Every key that starts with `prefix`, page by page."""
    token: str | None = None
    while True:
        page = store.list_page(prefix, token=token)
        yield from (info.key for info in page.objects)
        token = page.next
        if token is None:
            return


def _foreseen(folder: Path) -> tuple[ManifestFile, ...]:
    """The files below `folder`, without their hashes. What makes no manifest is refused before a byte is read."""
    paths = list(_files(folder))
    named = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths]
    manifest = Manifest.of([ManifestFile(path=name, size=size, sha256="0" * 64) for name, size in named])
    _to_bytes(manifest)
    return manifest.files


def _to_bytes(manifest: Manifest) -> bytes:
    """The manifest as it is stored; InvalidSpec for one that would be too large to be read again."""
    data = manifest.to_bytes()
    if len(data) > MAX_MANIFEST:
        raise InvalidSpec(
            f"A manifest of {len(manifest.files)} files would have {len(data)} bytes, and no more than {MAX_MANIFEST}.",
            hint="Put the files into an archive, or into several artifacts.",
        )
    return data


def _files(folder: Path) -> Iterator[Path]:
    """The regular files below `folder`; a link is refused, because its target is not part of the artifact."""
    if not folder.is_dir():
        raise InvalidSpec(f"{folder} is not a folder")
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root) / name
            if not _is_utf8(name):  # how Python shows such a name; no store and no manifest holds it
                raise InvalidSpec(f"{name!r} is not UTF-8.", hint="Give the file another name.")
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise InvalidSpec(f"{path.relative_to(folder)} is not a regular file", hint="Copy it instead.")
        yield from (Path(root) / name for name in names)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

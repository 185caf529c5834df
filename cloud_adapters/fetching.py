"""Artifacts that come to a folder of this machine: all of it and every byte right, or nothing.

Small files come side by side. A large one comes in parts, in parallel and in bounded memory, by the same way that a
transfer takes; it is hashed while the parts are written to where they belong.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloud_adapters.artifacts import open_verified, read_manifest
from cloud_adapters.base import join_key
from cloud_adapters.errors import ObjectNotFound
from cloud_adapters.transfer.crew import Crew
from cloud_adapters.transfer.flow import Flow, Options
from cloud_adapters.transfer.parts import pump
from orchestrator.domain.artifact import Manifest, ManifestFile
from orchestrator.domain.errors import CorruptArtifact, NeutrinoError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cloud_adapters.base import ObjectStore

_FILES_AT_ONCE = 16


class Held(NamedTuple):
    """A file of an artifact in a store."""

    store: ObjectStore
    prefix: str
    file: ManifestFile


def holdings(store: ObjectStore, prefixes: Iterable[str]) -> dict[str, Held]:
    """The files of the artifacts at `prefixes` by their SHA-256; a prefix without an artifact is passed over."""
    found: dict[str, Held] = {}
    for prefix in prefixes:
        with contextlib.suppress(ObjectNotFound, CorruptArtifact):
            found |= {file.sha256: Held(store, prefix, file) for file in read_manifest(store, prefix).files}
    return found


def fetch(
    store: ObjectStore,
    prefix: str,
    expected: Manifest | str,
    folder: Path,
    *,
    near: Mapping[str, Held] | None = None,
    options: Options | None = None,
    cancel: threading.Event | None = None,
) -> Manifest:
    """Downloads the artifact into `folder`, which appears complete and verified or not at all.

    `near` says of files, by their SHA-256, where else they are: from there they are taken if they can be had.

    `expected` is the manifest, or the digest that the manifest in the store must have. Raises CorruptArtifact for any
    byte that differs, ObjectNotFound for a missing file, FileExistsError when `folder` exists and is not empty, and
    TransferCancelled soon after `cancel` was set.
    """
    manifest = _expect(store, prefix, expected)
    flow = Flow(options or Options(), manifest.size, len(manifest.files), None, cancel or threading.Event())
    store = flow.with_patience(store)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        staged = Path(temporary) / "files"
        staged.mkdir()

        def one(file: ManifestFile) -> None:
            flow.check()
            target = staged / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            held = (near or {}).get(file.sha256)
            if held is None or not _had(flow, held, target):
                _bring(flow, Held(store, prefix, file), target)

        Crew(one, manifest.files, _FILES_AT_ONCE, flow.failed).run()
        staged.replace(folder)
    return manifest


def _had(flow: Flow, held: Held, target: Path) -> bool:
    """Copies a file from where it is held; False when it is gone or damaged there, and nothing is left of it here."""
    try:
        _bring(flow, held, target)
    except NeutrinoError:
        target.unlink(missing_ok=True)
        return False
    return True


def _bring(flow: Flow, held: Held, target: Path) -> None:
    if held.file.size > flow.options.part_size:
        _bring_large(flow, held, target)
        return
    with flow.memory(held.file.size), target.open("xb") as content:
        for chunk in open_verified(held.store, held.prefix, held.file):
            flow.check()
            content.write(chunk)


def _bring_large(flow: Flow, held: Held, target: Path) -> None:
    store, key, part_size = held.store, join_key(held.prefix, held.file.path), flow.options.part_size
    info = store.head(key)
    if info.size != held.file.size:
        raise CorruptArtifact(f"{key} has {info.size} bytes, the manifest says {held.file.size}")
    with target.open("xb") as content:

        def write(number: int, piece: memoryview) -> None:
            at = (number - 1) * part_size
            while piece:
                written = os.pwrite(content.fileno(), piece, at)
                piece, at = piece[written:], at + written

        found = pump(flow, store, key, size=info.size, etag=info.etag, part_size=part_size, sink=write)
    if found.sha256 != held.file.sha256:
        raise CorruptArtifact(f"{key} has SHA-256 {found.sha256}, the manifest says {held.file.sha256}")


def _expect(store: ObjectStore, prefix: str, expected: Manifest | str) -> Manifest:
    if isinstance(expected, Manifest):
        return expected
    manifest = read_manifest(store, prefix)
    if manifest.digest != expected:
        raise CorruptArtifact(f"the manifest at {prefix!r} has digest {manifest.digest}, not {expected}")
    return manifest

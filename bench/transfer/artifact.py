"""What is moved: one large file, or many small ones."""

from __future__ import annotations

import hashlib
import os

from cloud_adapters.artifacts import commit_manifest
from cloud_adapters.base import MIB, ObjectStore, join_key
from orchestrator.domain.artifact import Manifest, ManifestFile

SHAPES = {"large": (1, 1024 * MIB), "small": (1000, 64 * 1024)}


def seed(store: ObjectStore, shape: str) -> None:
    """Puts an artifact of that shape into the store."""
    count, size = SHAPES[shape]
    block = os.urandom(8 * MIB)
    files = []
    for number in range(count):
        key, sha = join_key(shape, f"{number:04d}"), hashlib.sha256()
        if size <= len(block):
            data = number.to_bytes(8) + block[8:size]
            sha.update(data)
            store.put(key, data)
        else:
            upload = store.start_upload(key, part_size=len(block))
            parts = []
            for part in range(1, size // len(block) + 1):
                sha.update(block)
                parts.append(store.put_part(upload, part, block))
            store.finish_upload(upload, parts)
        files.append(ManifestFile(path=f"{number:04d}", size=size, sha256=sha.hexdigest()))
    commit_manifest(store, shape, Manifest.of(files))

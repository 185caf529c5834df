"""What is moved: one large file, or many small ones."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

from cloud_adapters.artifacts import commit_manifest
from cloud_adapters.base import MIB, ObjectStore, join_key
from orchestrator.domain.artifact import Manifest, ManifestFile

SHAPES = {"large": (1, 1024 * MIB), "small": (1000, 64 * 1024)}


def seed(store: ObjectStore, shape: str) -> None:
    """Puts an artifact of that shape into the store."""
    count, size = SHAPES[shape]
    block = os.urandom(8 * MIB)

    def one(number: int) -> ManifestFile:
        name = f"{number:04d}"
        put = _put_parts if size > len(block) else _put_small
        return ManifestFile(path=name, size=size, sha256=put(store, join_key(shape, name), size, number, block))

    with ThreadPoolExecutor(64) as pool:
        commit_manifest(store, shape, Manifest.of(list(pool.map(one, range(count)))))


def _put_small(store: ObjectStore, key: str, size: int, number: int, block: bytes) -> str:
    data = number.to_bytes(8) + block[8:size]
    store.put(key, data)
    return hashlib.sha256(data).hexdigest()


def _put_parts(store: ObjectStore, key: str, size: int, _number: int, block: bytes) -> str:
    sha = hashlib.sha256()
    upload = store.start_upload(key, part_size=len(block))
    parts = []
    for part in range(1, size // len(block) + 1):
        sha.update(block)
        parts.append(store.put_part(upload, part, block))
    store.finish_upload(upload, parts)
    return sha.hexdigest()

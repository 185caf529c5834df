"""What a transfer will move, take and cost, without moving anything."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloud_adapters.artifacts import MAX_MANIFEST, read_manifest
from cloud_adapters.base import MIB, join_key
from cloud_adapters.egress import EgressPrice, egress_price
from cloud_adapters.errors import ObjectNotFound
from cloud_adapters.retrying import read_whole
from orchestrator.domain.artifact import MANIFEST_NAME, ManifestFile
from orchestrator.domain.freight import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_adapters.base import ObjectInfo, ObjectStore
    from orchestrator.domain.artifact import Manifest

ASSUMED_RATE = 100 * MIB
ASSUMED_SECONDS_PER_FILE = 0.002


@dataclass(frozen=True, slots=True)
class Estimate:
    """`bytes_to_move` leaves out what the destination holds already; `seconds` at `rate`, in bytes per second."""

    files: int
    total_bytes: int
    bytes_to_move: int
    seconds: float
    rate: float
    cost: EgressPrice


def estimate(
    source: ObjectStore,
    source_prefix: str,
    destination: ObjectStore,
    prefix: str,
    *,
    reuse: Sequence[str] = (),
    rate: float = ASSUMED_RATE,
) -> Estimate:
    """The estimate for `transfer` with the same arguments; `rate` in bytes per second, best from an earlier transfer.

    Files that the destination holds with the right size are taken for good here; the transfer itself checks them.
    """
    manifest = read_manifest(source, source_prefix)
    known = reusable(destination, reuse, manifest)
    sizes = [(join_key(prefix, file.path), file.size) for file in manifest.files if file.sha256 not in known]
    return _estimate(sizes, source, destination, prefix, len(manifest.files), manifest.size, rate)


def estimate_copy(
    source: ObjectStore,
    files: Sequence[tuple[ObjectInfo, str]],
    destination: ObjectStore,
    *,
    rate: float = ASSUMED_RATE,
) -> Estimate:
    """The estimate for `copy` with the same arguments."""
    sizes = [(key, info.size) for info, key in files]
    return _estimate(sizes, source, destination, "", len(files), sum(size for _, size in sizes), rate)


def _estimate(
    sizes: Sequence[tuple[str, int]],
    source: ObjectStore,
    destination: ObjectStore,
    prefix: str,
    files: int,
    total: int,
    rate: float,
) -> Estimate:
    there = {key: info.size for key, info in listed(destination, prefix).items()}
    missing = [size for key, size in sizes if there.get(key) != size]
    size = sum(missing)
    return Estimate(
        files=files,
        total_bytes=total,
        bytes_to_move=size,
        seconds=size / rate + len(missing) * ASSUMED_SECONDS_PER_FILE,
        rate=rate,
        cost=cost_of(size, source, destination),
    )


def cost_of(size: int, source: ObjectStore, destination: ObjectStore) -> EgressPrice:
    """The egress price of `size` bytes between two stores."""
    return egress_price(size, _region(source), _region(destination))


def _region(store: ObjectStore) -> Region:
    return Region(store.provider, store.region or "")


def listed(store: ObjectStore, prefix: str) -> dict[str, ObjectInfo]:
    """All objects below `prefix`, by key."""
    found: dict[str, ObjectInfo] = {}
    token: str | None = None
    while True:
        page = store.list_page(f"{prefix.strip('/')}/" if prefix else "", token=token)
        found |= {info.key: info for info in page.objects}
        token = page.next
        if token is None:
            return found


def reusable(store: ObjectStore, prefixes: Sequence[str], wanted: Manifest) -> dict[str, str]:
    """Keys by SHA-256 of those files of the artifacts at `prefixes` that are in `wanted`, too. A prefix without an
    artifact is passed over, and so is a damaged manifest: what is copied from there is hashed as everything is.

    Of manifests with many files nothing else is kept in memory, not even while they are read.
    """
    hashes = {file.sha256 for file in wanted.files} if prefixes else set()
    found: dict[str, str] = {}
    for prefix in prefixes:

        def look_at(entry: dict[str, Any], prefix: str = prefix) -> None:
            if entry.get("sha256") in hashes:
                file = ManifestFile.model_validate(entry)
                found[file.sha256] = join_key(prefix, file.path)

        with suppress(ObjectNotFound, ValueError, TypeError, RecursionError):
            data = read_whole(store, join_key(prefix, MANIFEST_NAME), most=MAX_MANIFEST)
            json.loads(data or b"", object_hook=look_at)
    return found

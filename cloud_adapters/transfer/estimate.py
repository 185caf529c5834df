"""What a transfer will move, take and cost, without moving anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud_adapters.artifacts import read_manifest
from cloud_adapters.base import MIB, join_key
from cloud_adapters.egress import EgressPrice, Place, egress_price
from cloud_adapters.errors import ObjectNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_adapters.base import ObjectInfo, ObjectStore
    from orchestrator.domain.artifact import Manifest

ASSUMED_RATE = 100 * MIB
ASSUMED_SECONDS_PER_FILE = 0.002


@dataclass(frozen=True, slots=True)
class Estimate:
    """`bytes_to_move` leaves out what the destination holds already; `seconds` at the assumed rate."""

    files: int
    total_bytes: int
    bytes_to_move: int
    seconds: float
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
    there = {info.key: info.size for info in listed(destination, prefix).values()}
    known = set(reusable(destination, reuse))
    missing = [
        file
        for file in manifest.files
        if file.sha256 not in known and there.get(join_key(prefix, file.path)) != file.size
    ]
    size = sum(file.size for file in missing)
    return Estimate(
        files=len(manifest.files),
        total_bytes=manifest.size,
        bytes_to_move=size,
        seconds=size / rate + len(missing) * ASSUMED_SECONDS_PER_FILE,
        cost=cost_of(size, source, destination),
    )


def cost_of(size: int, source: ObjectStore, destination: ObjectStore) -> EgressPrice:
    """The egress price of `size` bytes between two stores."""
    return egress_price(size, Place(source.provider, source.region), Place(destination.provider, destination.region))


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


def reusable(store: ObjectStore, prefixes: Sequence[str]) -> dict[str, str]:
    """Keys by SHA-256 of the files in the artifacts at `prefixes`; a prefix without an artifact is passed over."""
    found: dict[str, str] = {}
    for prefix in prefixes:
        try:
            manifest: Manifest = read_manifest(store, prefix)
        except ObjectNotFound:  # discarded meanwhile: then there is nothing to reuse
            continue
        found |= {file.sha256: join_key(prefix, file.path) for file in manifest.files}
    return found

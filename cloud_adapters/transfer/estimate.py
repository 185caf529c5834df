"""What a transfer will move, take and cost, without moving anything."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from cloud_adapters.artifacts import MAX_MANIFEST, read_manifest
from cloud_adapters.base import MIB, join_key
from cloud_adapters.egress import EgressPrice, egress_price
from cloud_adapters.errors import ObjectNotFound
from cloud_adapters.retrying import read_whole
from orchestrator.domain.artifact import MANIFEST_NAME, ManifestFile
from orchestrator.domain.freight import Region

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cloud_adapters.base import ObjectInfo, ObjectStore
    from orchestrator.domain.artifact import Manifest

ASSUMED_RATE = 100 * MIB
ASSUMED_SECONDS_PER_FILE = 0.002
_FEW = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """`bytes_to_move` leaves out what the destination holds already; `bytes_to_read_back` is what has to be read there
    to prove it; `seconds` is for both at `rate`, in bytes per second."""

    files: int
    total_bytes: int
    bytes_to_move: int
    bytes_to_read_back: int
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
    paranoid: bool = False,
) -> Estimate:
    """The estimate for `transfer` with the same arguments; `rate` in bytes per second, best from an earlier transfer.

    Files that the destination holds with the right size are taken for good here; the transfer itself checks them. A
    store that says that it verifies what it gets is believed; the transfer itself tries that.
    """
    manifest = read_manifest(source, source_prefix)
    known = reusable(destination, reuse, manifest)
    sizes = {join_key(prefix, file.path): file.size for file in manifest.files}
    missing = _missing(sizes, {info.key: info for info in listed(destination, prefix)})
    reused = {join_key(prefix, file.path) for file in manifest.files if file.sha256 in known}
    to_move = [size for key, size in missing.items() if key not in reused]
    at_rest = manifest.size - sum(to_move)  # of an artifact, what is there is hashed as well
    return _estimate(to_move, at_rest, source, destination, len(manifest.files), manifest.size, rate, paranoid)


def estimate_copy(
    source: ObjectStore,
    files: Sequence[tuple[ObjectInfo, str]],
    destination: ObjectStore,
    *,
    rate: float = ASSUMED_RATE,
    paranoid: bool = False,
) -> Estimate:
    """The estimate for `copy` with the same arguments."""
    sizes = {key: info.size for info, key in files}
    missing = _missing(sizes, present(destination, list(sizes)))
    return _estimate(
        list(missing.values()), 0, source, destination, len(files), sum(sizes.values()), rate, paranoid
    )  # fmt: skip


def _missing(sizes: Mapping[str, int], there: Mapping[str, ObjectInfo]) -> dict[str, int]:
    return {key: size for key, size in sizes.items() if key not in there or there[key].size != size}


def _estimate(
    missing: Sequence[int],
    at_rest: int,
    source: ObjectStore,
    destination: ObjectStore,
    files: int,
    total: int,
    rate: float,
    paranoid: bool,
) -> Estimate:
    size = sum(missing)
    unproven = paranoid or not destination.capabilities.verifies or destination.can_copy_from(source)
    read_back = at_rest + (size if unproven else 0)
    return Estimate(
        files=files,
        total_bytes=total,
        bytes_to_move=size,
        bytes_to_read_back=read_back,
        seconds=(size + read_back) / rate + len(missing) * ASSUMED_SECONDS_PER_FILE,
        rate=rate,
        cost=cost_of(size, source, destination),
    )


def cost_of(size: int, source: ObjectStore, destination: ObjectStore) -> EgressPrice:
    """The egress price of `size` bytes between two stores."""
    return egress_price(size, _region(source), _region(destination))


def _region(store: ObjectStore) -> Region:
    return Region(store.provider, store.region or "")


def listed(store: ObjectStore, prefix: str) -> Iterator[ObjectInfo]:
    """All objects below `prefix`."""
    token: str | None = None
    while True:
        page = store.list_page(f"{prefix.strip('/')}/" if prefix else "", token=token)
        yield from page.objects
        token = page.next
        if token is None:
            return


def present(store: ObjectStore, keys: Sequence[str]) -> dict[str, ObjectInfo]:
    """Those of the objects that there are. A few are asked for one by one; many are looked up in the folder that holds
    them all, of which no others are kept in memory."""
    found: dict[str, ObjectInfo] = {}
    if len(keys) <= _FEW:
        for key in keys:
            with suppress(ObjectNotFound):
                found[key] = store.head(key)
        return found
    wanted, folder = set(keys), commonprefix(keys).rpartition("/")[0]  # noqa: RUF071 - cut at a slash here
    return {info.key: info for info in listed(store, folder) if info.key in wanted}


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

"""The transfer of one artifact, and of plain files."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cloud_adapters.artifacts import commit_manifest, read_manifest
from cloud_adapters.base import join_key
from cloud_adapters.errors import PreconditionFailed
from cloud_adapters.transfer.estimate import cost_of, listed, present, reusable
from cloud_adapters.transfer.flow import Counts, Flow, Options
from cloud_adapters.transfer.mover import Move, Mover
from orchestrator.domain.artifact import MANIFEST_NAME
from orchestrator.domain.errors import CorruptArtifact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloud_adapters.base import ObjectInfo, ObjectStore
    from cloud_adapters.egress import EgressPrice
    from cloud_adapters.transfer.flow import Progress
    from orchestrator.domain.artifact import Manifest


@dataclass(frozen=True, slots=True)
class Report:
    """What a transfer did. `manifest` is None for plain files. `cost` prices the bytes that were taken from the
    source, be it through here or inside the provider."""

    manifest: Manifest | None
    counts: Counts
    seconds: float
    proof: str
    cost: EgressPrice


def transfer(
    source: ObjectStore,
    source_prefix: str,
    destination: ObjectStore,
    prefix: str,
    *,
    digest: str | None = None,
    manifest: Manifest | None = None,
    reuse: Sequence[str] = (),
    options: Options | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> Report:
    """Makes the artifact at `source_prefix` visible at `prefix`, every byte verified, or raises and shows nothing.

    `digest` is the manifest's expected SHA-256. `manifest` makes an artifact of files that have none in the source.
    `reuse` names prefixes of artifacts in the destination, whose files need not be sent again. `on_progress` is called
    from several threads, one at a time.

    Raises CorruptArtifact, PreconditionFailed (the prefix holds another artifact), TransferCancelled, or a StoreError
    that retries did not mend.
    """
    manifest = manifest or read_manifest(source, source_prefix)
    if digest is not None and manifest.digest != digest:
        raise CorruptArtifact(f"The manifest at {source_prefix} has digest {manifest.digest}, not {digest}.")
    flow = Flow(options or Options(), manifest.size, len(manifest.files), on_progress, cancel or threading.Event())
    source, destination = flow.with_patience(source), flow.with_patience(destination)
    there = {info.key: info for info in listed(destination, prefix)}
    known = reusable(destination, reuse, manifest)
    if join_key(prefix, MANIFEST_NAME) in there:
        _refuse_another(destination, prefix, manifest)
    mover = Mover(flow, source, destination, prefix, there=there, reusable=known)
    mover.move(
        [
            Move(join_key(source_prefix, file.path), join_key(prefix, file.path), file.size, file.sha256)
            for file in manifest.files
        ]
    )
    flow.check()
    mover.insist(partial(commit_manifest, destination, prefix, manifest))
    return _report(flow, mover, manifest, source, destination)


def copy(
    source: ObjectStore,
    files: Sequence[tuple[ObjectInfo, str]],
    destination: ObjectStore,
    *,
    options: Options | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> Report:
    """Copies plain objects, each to the key beside it; one that is there already with the same content is left alone.

    Without a manifest there is no SHA-256 to compare the source with: what its store knows (size, version, MD5) is
    compared, and what lands is proven against the bytes that were read. An object at the destination is replaced, and
    appears whole. Raises as `transfer` does.
    """
    total = sum(info.size for info, _ in files)
    flow = Flow(options or Options(), total, len(files), on_progress, cancel or threading.Event())
    source, destination = flow.with_patience(source), flow.with_patience(destination)
    there = present(destination, [key for _, key in files])
    mover = Mover(flow, source, destination, "", there=there, reusable={})
    mover.move([Move(info.key, key, info.size, md5=info.md5, etag=info.etag) for info, key in files])
    flow.check()
    return _report(flow, mover, None, source, destination)


def _refuse_another(destination: ObjectStore, prefix: str, manifest: Manifest) -> None:
    """Raises PreconditionFailed before a byte is moved when the prefix already belongs to another artifact."""
    if read_manifest(destination, prefix).digest != manifest.digest:
        raise PreconditionFailed(
            f"{prefix or 'This folder'!r} in {destination.uri} already holds another artifact.",
            hint="Transfer to a prefix that was never used.",
        )


def _report(
    flow: Flow, mover: Mover, manifest: Manifest | None, source: ObjectStore, destination: ObjectStore
) -> Report:
    seconds = time.monotonic() - flow.started
    proof = "checksums verified by the store" if mover.trusted else "read back"
    return Report(manifest, flow.counts, seconds, proof, cost_of(flow.counts.taken, source, destination))

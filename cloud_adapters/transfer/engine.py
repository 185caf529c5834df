"""The transfer of one artifact: what to do with each file, and the proof that it landed."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cloud_adapters.artifacts import commit_manifest, read_manifest
from cloud_adapters.base import join_key
from cloud_adapters.errors import CorruptObject, ObjectNotFound, PreconditionFailed, TransientStoreError
from cloud_adapters.retry import Retry
from cloud_adapters.retrying import bare
from cloud_adapters.streams import md5_of, part_size_for
from cloud_adapters.transfer.estimate import cost_of, listed, reusable
from cloud_adapters.transfer.flow import Counts, Flow, Options
from cloud_adapters.transfer.parts import pump, read_pinned
from orchestrator.domain.errors import CorruptArtifact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloud_adapters.base import ObjectInfo, ObjectStore, Part
    from cloud_adapters.egress import EgressPrice
    from cloud_adapters.transfer.flow import Progress
    from orchestrator.domain.artifact import Manifest, ManifestFile

# A bit flipped on the way is worth fetching the same bytes again; bytes that stay wrong are wrong at rest.
ATTEMPTS_ON_CORRUPTION = 3

Landed = TypeVar("Landed")


@dataclass(frozen=True, slots=True)
class Report:
    """What a transfer did. `cost` prices the bytes that were read from the source."""

    manifest: Manifest
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
    reuse: Sequence[str] = (),
    options: Options | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> Report:
    """Makes the artifact at `source_prefix` visible at `prefix`, every byte verified, or raises and shows nothing.

    `digest` is the manifest's expected SHA-256. `reuse` names prefixes of artifacts in the destination, whose files
    need not be sent again. `on_progress` is called from several threads, one at a time.

    Raises CorruptArtifact, PreconditionFailed (the prefix holds another artifact), TransferCancelled, or a StoreError
    that retries did not mend.
    """
    manifest = read_manifest(source, source_prefix)
    if digest is not None and manifest.digest != digest:
        raise CorruptArtifact(f"The manifest at {source_prefix} has digest {manifest.digest}, not {digest}.")
    flow = Flow(options or Options(), manifest.size, len(manifest.files), on_progress, cancel or threading.Event())
    mover = _Mover(flow, source, source_prefix, destination, prefix, reuse)
    mover.refuse_another(manifest)
    mover.move(manifest)
    flow.check()
    commit_manifest(destination, prefix, manifest)
    seconds = time.monotonic() - flow.started
    proof = "checksums verified by the store" if mover.trusted else "read back"
    return Report(manifest, flow.counts, seconds, proof, cost_of(flow.counts.read, source, destination))


class _Mover:
    def __init__(
        self,
        flow: Flow,
        source: ObjectStore,
        source_prefix: str,
        destination: ObjectStore,
        prefix: str,
        reuse: Sequence[str],
    ) -> None:
        self._flow = flow
        self._source = source
        self._source_prefix = source_prefix
        self._destination = destination
        self._prefix = prefix
        self._inside = destination.can_copy_from(source)
        self._there = listed(destination, prefix)
        self._reusable = reusable(destination, reuse)
        self.trusted = self._may_trust()

    def refuse_another(self, manifest: Manifest) -> None:
        """Raises PreconditionFailed before a byte is moved when the prefix already belongs to another artifact."""
        try:
            present = read_manifest(self._destination, self._prefix)
        except ObjectNotFound:
            return
        if present.digest != manifest.digest:
            raise PreconditionFailed(
                f"{self._prefix!r} in {self._destination.uri} already holds another artifact.",
                hint="Transfer to a prefix that was never used.",
            )

    def move(self, manifest: Manifest) -> None:
        """Brings every file over: the small ones side by side, the large ones one by one, each in parallel parts."""
        limit = self._flow.options.part_size
        small = [file for file in manifest.files if file.size <= limit]
        large = [file for file in manifest.files if file.size > limit]
        threads = max(1, min(self._flow.options.small_streams, len(small)))
        stop = threading.Event()

        def one(file: ManifestFile) -> None:
            if not stop.is_set():
                self._file(file)

        with ThreadPoolExecutor(threads, thread_name_prefix="files") as pool:
            done, _ = wait([pool.submit(one, file) for file in small], return_when=FIRST_EXCEPTION)
            stop.set()
            for future in done:
                future.result()
        for file in large:
            self._file(file)

    def _file(self, file: ManifestFile) -> None:
        self._flow.check()
        key = join_key(self._prefix, file.path)
        if self._is_there(file, key):
            self._flow.count(already_there=file.size)
        elif not self._copied_inside(file, key):
            if file.size <= self._flow.options.part_size:
                self._send_small(file, key)
            else:
                self._send_large(file, key)
        self._flow.count(done=file.size, files_done=1)

    def _is_there(self, file: ManifestFile, key: str) -> bool:
        """Whether an earlier attempt brought this file: it is read and hashed, since nothing else proves it."""
        info = self._there.get(key)
        return info is not None and info.size == file.size and self._hash_of(key, info) == file.sha256

    def _copied_inside(self, file: ManifestFile, key: str) -> bool:
        """Copies inside the provider when it can, from the source or from an artifact that the destination holds."""
        if known := self._reusable.get(file.sha256):
            origin, origin_key = self._destination, known
        elif self._inside:
            origin, origin_key = self._source, join_key(self._source_prefix, file.path)
        else:
            return False
        try:
            info = self._destination.copy_from(origin, origin_key, key)
        except ObjectNotFound:  # discarded meanwhile: the source still has it, or says clearly that it has not
            return False
        self._prove(file, key, info)
        self._flow.count(copied_inside=file.size)
        return True

    def _send_small(self, file: ManifestFile, key: str) -> None:
        with self._flow.memory(file.size):
            data = self._read_small(file)
            md5 = md5_of(data)
            info = self._insist(lambda: self._destination.put(key, data, md5=md5))
            self._flow.count(sent=file.size)
        if not self.trusted:
            self._prove(file, key, info)

    def _read_small(self, file: ManifestFile) -> bytearray:
        source_key = join_key(self._source_prefix, file.path)
        for _ in range(ATTEMPTS_ON_CORRUPTION):
            self._flow.pace(file.size)
            data = Retry().call(lambda: self._whole(source_key, file.size))
            self._flow.count(read=len(data))
            if len(data) == file.size and hashlib.sha256(data).hexdigest() == file.sha256:
                return data
        raise self._corrupt(file, source_key)

    def _whole(self, key: str, size: int) -> bytearray:
        """The object, or nothing of it when it does not have `size` bytes."""
        with bare(self._source).open(key) as reader:
            data = bytearray(size if reader.size == size else 0)
            view = memoryview(data)
            while view:
                got = reader.readinto(view)
                if not got:
                    raise TransientStoreError(f"{key} ended {len(view)} bytes early")
                view = view[got:]
        return data

    def _send_large(self, file: ManifestFile, key: str) -> None:
        source_key = join_key(self._source_prefix, file.path)
        pinned = self._source.head(source_key)
        if pinned.size != file.size:
            raise self._corrupt(file, source_key)
        store = self._destination
        part_size = part_size_for(file.size, store.capabilities.max_parts, self._flow.options.part_size)
        upload = store.find_upload(key, part_size=part_size)
        landed = {part.number: part for part in store.list_parts(upload)} if upload else {}
        upload = upload or store.start_upload(key, part_size=part_size)
        parts: dict[int, Part] = {}

        def send(number: int, piece: memoryview) -> None:
            md5, had = md5_of(piece), landed.get(number)
            if had and (had.size, had.md5) == (len(piece), md5):
                parts[number] = had
                self._flow.count(already_there=len(piece))
                return
            parts[number] = self._insist(partial(store.put_part, upload, number, piece, md5))
            self._flow.count(sent=len(piece))

        found = pump(
            self._flow, self._source, source_key, size=file.size, etag=pinned.etag, part_size=part_size, sink=send
        )
        if found != file.sha256:
            store.abort_upload(upload)
            raise self._corrupt(file, source_key)
        info = store.finish_upload(upload, [parts[number] for number in sorted(parts)])
        if not self.trusted:
            self._prove(file, key, info)

    def _insist(self, operation: Callable[[], Landed]) -> Landed:
        """The result of sending; a body that was damaged on the way, as the store noticed, is sent again."""
        for _ in range(ATTEMPTS_ON_CORRUPTION - 1):
            try:
                return operation()
            except CorruptObject:
                self._flow.check()
        return operation()

    def _prove(self, file: ManifestFile, key: str, info: ObjectInfo) -> None:
        """Reads back what landed; what is wrong is removed again."""
        if info.size != file.size or self._hash_of(key, info) != file.sha256:
            self._destination.delete(key)
            raise CorruptArtifact(
                f"{file.path} did not arrive in {self._destination.uri} as it was sent.", hint="Try the transfer again."
            )

    def _hash_of(self, key: str, info: ObjectInfo) -> str:
        """The SHA-256 of what lies in the destination."""
        part_size = self._flow.options.part_size
        if info.size > part_size:
            return pump(
                self._flow,
                self._destination,
                key,
                size=info.size,
                etag=info.etag,
                part_size=part_size,
                kind="read_back",
            )
        with self._flow.memory(info.size):
            data = bytearray(info.size)
            read_pinned(self._destination, key, memoryview(data), 0, info.etag)
            self._flow.count(read_back=info.size)
            return hashlib.sha256(data).hexdigest()

    def _corrupt(self, file: ManifestFile, key: str) -> CorruptArtifact:
        return CorruptArtifact(
            f"{key} in {self._source.uri} is not what its manifest says: {file.size} bytes, SHA-256 {file.sha256}.",
            hint="This replica is damaged; copy from another.",
        )

    def _may_trust(self) -> bool:
        """Whether the destination refuses damaged bodies: claimed, and tried with an object that lies."""
        options = self._flow.options
        if options.paranoid or not self._destination.capabilities.verifies_md5:
            return False
        if options.trust_store is not None:
            return options.trust_store
        key = join_key(self._prefix, f"checksum-probe-{uuid.uuid4().hex}")
        try:
            self._destination.put(key, b"probe", md5=md5_of(b"something else"))
        except CorruptObject:
            return True
        self._destination.delete(key)
        return False

"""What to do with each file of a transfer, and the proof that it landed."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cloud_adapters.base import PRIVATE, join_key
from cloud_adapters.errors import AccessDenied, CopyAbandoned, CorruptObject, ObjectNotFound
from cloud_adapters.retrying import read_whole
from cloud_adapters.streams import part_size_for
from cloud_adapters.transfer.crew import Crew
from cloud_adapters.transfer.parts import Digests, pump, read_pinned
from orchestrator.domain.errors import CorruptArtifact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cloud_adapters.base import ObjectInfo, ObjectStore, Part
    from cloud_adapters.transfer.flow import Flow

# A bit flipped on the way is worth fetching the same bytes again; bytes that stay wrong are wrong at rest.
ATTEMPTS_ON_CORRUPTION = 3

Landed = TypeVar("Landed")


@dataclass(frozen=True, slots=True)
class Move:
    """One file to bring from `source_key` to `key`. `sha256` is what a manifest promises; where there is none, `etag`
    is the version that was listed, and `md5` is what the source's store says, if it says anything."""

    source_key: str
    key: str
    size: int
    sha256: str | None = None
    md5: bytes | None = None
    etag: str | None = None

    def is_source(self, found: Digests) -> bool:
        """Whether bytes with these digests are what the source is known to hold."""
        if self.sha256 is not None:
            return found.sha256 == self.sha256
        return None in {self.md5, found.md5} or found.md5 == self.md5


class Mover:
    """Brings files from one store to another. `there` is what lies at the destination already, by key; `reusable` are
    keys of the destination by the SHA-256 of what they hold."""

    def __init__(
        self,
        flow: Flow,
        source: ObjectStore,
        destination: ObjectStore,
        prefix: str,
        *,
        there: Mapping[str, ObjectInfo],
        reusable: Mapping[str, str],
    ) -> None:
        self._flow = flow
        self._source = source
        self._destination = destination
        paced = flow.options.bandwidth is not None and not destination.capabilities.copies_elsewhere
        self._inside = destination.can_copy_from(source) and not paced
        self._there = there
        self._reusable = reusable
        self.trusted = self._may_trust(prefix)
        flow.to_prove = 0 if self.trusted else flow.total

    def move(self, files: Sequence[Move]) -> None:
        """Brings every file over: the small ones side by side, the large ones one by one, each in parallel parts."""
        limit = self._flow.options.part_size
        small = [file for file in files if file.size <= limit]
        large = [file for file in files if file.size > limit]
        Crew(self._file, small, self._flow.options.small_streams, self._flow.failed).run()
        for file in large:
            self._file(file)

    def _file(self, file: Move) -> None:
        self._flow.check()
        if self._is_there(file):
            self._flow.count(already_there=file.size)
        elif not self._copied_inside(file):
            if file.size <= self._flow.options.part_size:
                self._send_small(file)
            else:
                self._send_large(file)
        self._flow.count(files_done=1)

    def _is_there(self, file: Move) -> bool:
        """Whether an earlier attempt brought this file."""
        info = self._there.get(file.key)
        return info is not None and self._holds(file, info)

    def _holds(self, file: Move, info: ObjectInfo) -> bool:
        """Whether the destination's object is the file: read and hashed, since nothing else proves it. Without a
        SHA-256 to compare with, the MD5s of both stores have to do, or else both objects are read."""
        if info.size != file.size:
            return False
        if file.sha256 is not None:
            return self._landed(file, info) == file.sha256
        if file.md5 and info.md5 and not self._flow.options.paranoid:
            if same := file.md5 == info.md5:
                self._flow.spare(file.size)
            return same
        found = self._hash(self._source, file.source_key, self._pinned(file), "read")
        return file.is_source(found) and self._landed(file, info) == found.sha256

    def _copied_inside(self, file: Move) -> bool:
        """Copies inside the provider when it can, from the source or from an artifact that the destination holds. What
        is not right then is removed: the ordinary way will tell whether the source is damaged."""
        known = self._reusable.get(file.sha256) if file.sha256 is not None else None
        if known is None and not self._inside:
            return False
        origin, origin_key = (self._source, file.source_key) if known is None else (self._destination, known)
        try:
            info = self._destination.copy_from(origin, origin_key, file.key)
        except (ObjectNotFound, CopyAbandoned):  # discarded meanwhile, or too slow: the source still tells what it has
            return False
        except AccessDenied:  # who may write there need not be allowed to read here: the source's own credentials are
            self._inside = self._inside and known is not None
            return False
        if known is None:
            self._flow.count(crossed=file.size)
        try:
            good = self._holds(file, info)
        except CorruptArtifact:  # the source's object is not the one that was listed
            good = False
        if not good:
            self._destination.delete(file.key)
            return False
        self._flow.count(copied_inside=file.size)
        return True

    def _send_small(self, file: Move) -> None:
        with self._flow.memory(file.size):
            data = self._read_small(file)
            sha256 = "" if self.trusted else hashlib.sha256(data).hexdigest()
            info = self.insist(lambda: self._destination.put(file.key, data))
            self._flow.count(sent=file.size)
        if not self.trusted:
            self._prove(file, info, sha256)

    def _read_small(self, file: Move) -> bytearray:
        for _ in range(ATTEMPTS_ON_CORRUPTION):
            self._flow.pace(file.size)
            data = self._read_whole(file)
            if data is None:
                continue
            self._flow.count(read=len(data))
            if len(data) == file.size and file.is_source(Digests.of(data, md5=file.sha256 is None)):
                return data
        raise self._corrupt(file)

    def _read_whole(self, file: Move) -> bytearray | None:
        """The file's bytes, of the version that was listed; None for more than it should have."""
        if file.etag is None:
            return read_whole(self._source, file.source_key, most=file.size)
        data = bytearray(file.size)
        read_pinned(self._source, file.source_key, memoryview(data), 0, file.etag)
        return data

    def _pinned(self, file: Move) -> ObjectInfo:
        """The source's object as it is now, which has to be what was listed."""
        info = self._source.head(file.source_key)
        if info.size != file.size or file.etag not in {None, info.etag}:
            raise self._corrupt(file)
        return info

    def _send_large(self, file: Move) -> None:
        pinned = self._pinned(file)
        store = self._destination
        part_size = part_size_for(file.size, store.capabilities.max_parts, self._flow.options.part_size)
        upload = store.find_upload(file.key, part_size=part_size)
        landed = {part.number: part for part in store.list_parts(upload)} if upload else {}
        upload = upload or store.start_upload(file.key, part_size=part_size)
        parts: dict[int, Part] = {}

        def send(number: int, piece: memoryview) -> None:
            had = landed.get(number)
            if had and had.size == len(piece) and had.fingerprint == store.fingerprint(piece):
                parts[number] = had
                self._flow.count(already_there=len(piece))
                return
            parts[number] = self.insist(partial(store.put_part, upload, number, piece))
            self._flow.count(sent=len(piece))

        found = pump(
            self._flow, self._source, file.source_key, size=file.size, etag=pinned.etag, part_size=part_size,
            sink=send, md5=file.sha256 is None and file.md5 is not None,
        )  # fmt: skip
        if not file.is_source(found):
            store.abort_upload(upload)
            raise self._corrupt(file)
        info = store.finish_upload(upload, [parts[number] for number in sorted(parts)])
        if not self.trusted:
            self._prove(file, info, found.sha256)

    def insist(self, operation: Callable[[], Landed]) -> Landed:
        """The result of sending; a body that was damaged on the way, as the store noticed, is sent again."""
        for _ in range(ATTEMPTS_ON_CORRUPTION - 1):
            try:
                return operation()
            except CorruptObject:
                self._flow.check()
        return operation()

    def _prove(self, file: Move, info: ObjectInfo, sha256: str) -> None:
        """Reads back what landed; what is wrong is removed again."""
        if info.size != file.size or self._landed(file, info) != sha256:
            self._destination.delete(file.key)
            where = self._destination.uri
            raise CorruptArtifact(f"{file.key} did not arrive in {where} as it was sent.", hint="Try again.")

    def _landed(self, file: Move, info: ObjectInfo) -> str:
        """The SHA-256 of what lies in the destination."""
        return self._hash(self._destination, file.key, info, "read_back").sha256

    def _hash(self, store: ObjectStore, key: str, info: ObjectInfo, kind: str) -> Digests:
        part_size = self._flow.options.part_size
        if info.size > part_size:
            return pump(self._flow, store, key, size=info.size, etag=info.etag, part_size=part_size, kind=kind)
        self._flow.pace(info.size)
        with self._flow.memory(info.size):
            data = bytearray(info.size)
            read_pinned(store, key, memoryview(data), 0, info.etag)
            self._flow.count(**{kind: info.size})
            return Digests.of(data)

    def _corrupt(self, file: Move) -> CorruptArtifact:
        where = f"{file.source_key} in {self._source.uri}"
        if file.sha256 is None:
            return CorruptArtifact(f"{where} changed while it was being copied.", hint="Copy it again.")
        return CorruptArtifact(
            f"{where} is not what its manifest says: {file.size} bytes, SHA-256 {file.sha256}.",
            hint="This replica is damaged; copy from another.",
        )

    def _may_trust(self, prefix: str) -> bool:
        """Whether the destination refuses damaged bodies: claimed, and tried with an object that lies."""
        options = self._flow.options
        if options.paranoid or not self._destination.capabilities.verifies:
            return False
        if options.trust_store is not None:
            return options.trust_store
        key = join_key(prefix, PRIVATE, f"checksum-probe-{uuid.uuid4().hex}")
        try:
            self._destination.put(key, b"probe", checksum=self._destination.checksum(b"something else"))
        except CorruptObject:
            return True
        self._destination.delete(key)
        return False

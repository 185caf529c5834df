"""Single objects as streams: uploading a file of any size in bounded memory, reading one with its hash checked."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, BinaryIO, Self

from cloud_adapters.base import MIB, ObjectStore, Part, Reader
from cloud_adapters.errors import ObjectNotFound, PreconditionFailed, StoreError, TransientStoreError
from orchestrator.domain.errors import CorruptArtifact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.domain.artifact import ManifestFile

PART_SIZE = 8 * MIB
MAX_PART_SIZE = 96 * MIB
REOPENINGS = 8
_STREAMS = 4
_parts_in_memory = BoundedSemaphore(12)  # of all uploads of this process


def part_size_for(size: int, max_parts: int, smallest: int = PART_SIZE) -> int:
    """The part size in bytes for an object of `size`: a whole number of MiB, the same on every attempt.

    Raises StoreError for an object that would need parts too large to be held in memory.
    """
    needed = -(-size // max_parts)
    part_size = max(smallest, -(-needed // MIB) * MIB)
    if part_size > MAX_PART_SIZE:
        raise StoreError(f"an object of {size} bytes would need parts of {part_size} bytes; split the file")
    return part_size


def md5_of(data: bytes | bytearray | memoryview) -> bytes:
    """The raw MD5, as stores verify it; protects against damage, not against people."""
    return hashlib.md5(data, usedforsecurity=False).digest()


def put_stream(store: ObjectStore, key: str, stream: BinaryIO, size: int, *, create_only: bool = False) -> str:
    """Stores exactly `size` bytes of `stream` under `key` and returns their SHA-256 in hex.

    A large one goes in parts, several at a time in bounded memory. Raises TransientStoreError when the stream ends
    early. A failed upload leaves nothing behind.
    """
    sha = hashlib.sha256()
    part_size = part_size_for(size, store.capabilities.max_parts)
    if size <= part_size:
        data = _read_exactly(stream, size, key)
        sha.update(data)
        store.put(key, data, create_only=create_only)
        return sha.hexdigest()
    upload = store.start_upload(key, part_size=part_size)

    def send(number: int, data: memoryview) -> Part:
        try:
            return store.put_part(upload, number, data)
        finally:
            _parts_in_memory.release()

    try:
        with ThreadPoolExecutor(_STREAMS, thread_name_prefix="send") as pool:
            sent: list[Future[Part]] = []
            for number, start in enumerate(range(0, size, part_size), start=1):
                if any(one.done() and one.exception() for one in sent):
                    break
                _parts_in_memory.acquire()
                try:
                    data = _read_exactly(stream, min(part_size, size - start), key)
                    sha.update(data)
                    sent.append(pool.submit(send, number, data))
                except BaseException:
                    _parts_in_memory.release()
                    raise
        store.finish_upload(upload, [one.result() for one in sent], create_only=create_only)
    except BaseException:
        store.abort_upload(upload)
        raise
    return sha.hexdigest()


def put_file(store: ObjectStore, key: str, path: Path, *, create_only: bool = False) -> tuple[str, int]:
    """Stores the file at `path`; returns SHA-256 and size of what was sent."""
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        return put_stream(store, key, stream, size, create_only=create_only), size


def _read_exactly(stream: BinaryIO, size: int, key: str) -> memoryview:
    buffer = memoryview(bytearray(size))
    at = 0
    while at < size:
        got = stream.readinto(buffer[at:])  # type: ignore[attr-defined]
        if not got:
            raise TransientStoreError(f"{key}: the source ended after {at} of {size} bytes")
        at += got
    return buffer


class VerifyingReader:
    """Streams an object whose size and SHA-256 are known, reconnecting where it broke.

    The last read raises CorruptArtifact when the bytes are not the expected ones: data that was handed out before must
    not be used until the end was reached.
    """

    def __init__(self, store: ObjectStore, key: str, expected: ManifestFile) -> None:
        self.size = expected.size
        self._store = store
        self._key = key
        self._expected = expected
        self._sha = hashlib.sha256()
        self._at = 0
        self._failures = 0
        info = store.head(key)
        if info.size != expected.size:
            raise CorruptArtifact(f"{key} has {info.size} bytes, the manifest says {expected.size}")
        self._etag = info.etag
        self._reader: Reader | None = None

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills the front of `buffer`; returns the number of bytes, 0 after the verified end."""
        if self._at == self.size:
            self._verify()
            return 0
        got = 0
        while not got:
            try:
                self._reader = self._reader or self._store.open(self._key, start=self._at, etag=self._etag)
                got = self._reader.readinto(buffer)
                if not got:
                    raise TransientStoreError(f"{self._key}: ended after {self._at} of {self.size} bytes")
            except TransientStoreError:
                self._failures += 1
                self.close()
                if self._failures > REOPENINGS:
                    raise
            except (PreconditionFailed, ObjectNotFound) as error:
                raise CorruptArtifact(f"{self._key} was changed or removed while it was read") from error
        self._failures = 0
        self._sha.update(buffer[:got])
        self._at += got
        if self._at == self.size:
            self._verify()
        return got

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, or all that are left; empty at the end."""
        wanted = self.size - self._at if size < 0 else min(size, self.size - self._at)
        buffer = bytearray(wanted)
        at = 0
        while at < wanted:
            at += self.readinto(memoryview(buffer)[at:])
        if not wanted:
            self._verify()
        return bytes(buffer)

    def __iter__(self) -> Iterator[bytes]:
        """The bytes in chunks of 1 MiB; the last one is only given once everything has been verified."""
        with self:
            while chunk := self.read(MIB):
                yield chunk

    def close(self) -> None:
        """Gives the connection back."""
        if self._reader:
            self._reader.close()
            self._reader = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _verify(self) -> None:
        if self._at == self.size and self._sha.hexdigest() != self._expected.sha256:
            raise CorruptArtifact(
                f"{self._key} has SHA-256 {self._sha.hexdigest()}, the manifest says {self._expected.sha256}"
            )

"""One large object in parts: read in parallel, hashed in order, handed on in parallel, in bounded memory."""

from __future__ import annotations

import hashlib
import mmap
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud_adapters.errors import ObjectNotFound, PreconditionFailed
from cloud_adapters.streams import md5_of
from orchestrator.domain.errors import CorruptArtifact

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud_adapters.base import ObjectStore
    from cloud_adapters.transfer.flow import Flow


@dataclass(frozen=True, slots=True)
class Digests:
    """What bytes hash to: the SHA-256 in hex, and the raw MD5 where somebody wanted it."""

    sha256: str
    md5: bytes | None = None

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview, *, md5: bool = False) -> Digests:
        """The digests of bytes that are all here."""
        return cls(hashlib.sha256(data).hexdigest(), md5_of(data) if md5 else None)


class OrderedHash:
    """SHA-256 (and MD5) of pieces that arrive in any order. Whoever brings the next piece hashes all that are due."""

    def __init__(self, *, md5: bool = False) -> None:
        self._sha = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None
        self._pending: dict[int, memoryview] = {}
        self._next = 1
        self._busy = False
        self._broken = False
        self._changed = threading.Condition()

    def offer(self, number: int, piece: memoryview) -> None:
        """Gives piece `number` (from 1); the buffer must stay as it is until `wait_for(number)` returns."""
        with self._changed:
            self._pending[number] = piece
            if self._busy:
                return
            self._busy = True
        while True:
            with self._changed:
                due = self._pending.pop(self._next, None)
                if due is None:
                    self._busy = False
                    return
            self._sha.update(due)
            if self._md5:
                self._md5.update(due)
            with self._changed:
                self._next += 1
                self._changed.notify_all()

    def wait_for(self, number: int) -> None:
        """Returns when piece `number` has been hashed, or when that will never be."""
        with self._changed:
            self._changed.wait_for(lambda: self._next > number or self._broken)

    def give_up(self) -> None:
        """Lets everybody go who waits for a piece that will not come."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()

    def digests(self) -> Digests:
        """The digests of all pieces."""
        return Digests(self._sha.hexdigest(), self._md5.digest() if self._md5 else None)


def pump(
    flow: Flow,
    store: ObjectStore,
    key: str,
    *,
    size: int,
    etag: str,
    part_size: int,
    sink: Callable[[int, memoryview], None] | None = None,
    kind: str = "read",
    md5: bool = False,
) -> Digests:
    """Reads all parts of an object, gives each to `sink` (with its number, from 1) and returns the whole's digests.

    Raises CorruptArtifact when the object changes meanwhile, TransferCancelled, and whatever `sink` raises.
    """
    hashing = OrderedHash(md5=md5)
    numbers = iter(range(1, -(-size // part_size) + 1))
    lock = threading.Lock()
    failed = threading.Event()  # of this object alone: whoever reads it may know another way
    failures: list[BaseException] = []

    def give_up() -> None:
        failed.set()
        hashing.give_up()

    def stream() -> None:
        buffer = _room(min(part_size, size))
        try:
            while not failed.is_set():
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                start = (number - 1) * part_size
                piece = buffer[: min(part_size, size - start)]
                flow.pace(len(piece), failed)
                if failed.is_set():
                    return
                read_pinned(store, key, piece, start, etag)
                flow.count(**{kind: len(piece)})
                hashing.offer(number, piece)
                if sink:
                    sink(number, piece)
                hashing.wait_for(number)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised below
            failures.append(error)
            give_up()

    streams = max(1, min(flow.options.streams, flow.options.memory // part_size, -(-size // part_size)))
    with flow.memory(streams * part_size), ThreadPoolExecutor(streams, thread_name_prefix="parts") as pool:
        futures = [pool.submit(stream) for _ in range(streams)]
        try:
            wait(futures)
        except BaseException:  # Ctrl-C: the streams end with the part that they are at
            flow.failed.set()
            give_up()
            raise
    if failures:
        raise failures[0]
    return hashing.digests()


def _room(size: int) -> memoryview:
    """Memory for a part, in large pages where the system has them: they are mapped in a tenth of the time."""
    pages = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # on Linux
        pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)


def read_pinned(store: ObjectStore, key: str, piece: memoryview, start: int, etag: str) -> None:
    """Reads a range of an object as it was when `etag` was seen; CorruptArtifact when it is no longer that."""
    try:
        store.read_into(key, piece, start=start, etag=etag)
    except (PreconditionFailed, ObjectNotFound) as error:
        raise CorruptArtifact(
            f"{key} in {store.uri} was changed or removed while it was being copied.", hint="Copy from another replica."
        ) from error

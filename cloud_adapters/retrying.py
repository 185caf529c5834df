"""A store whose every call is tried again when that can help."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from cloud_adapters.base import MIB, Bytes, Capabilities, ObjectInfo, ObjectStore, Page, Part, Reader, Upload
from cloud_adapters.errors import PreconditionFailed, StoreError, TransientStoreError
from cloud_adapters.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class RetryingStore:
    """Adds retries to `inner`.

    A create whose answer got lost may have happened: the next attempt then meets an object of its own. `put` and
    `finish_upload` recognise that object by its bytes, and do not report a precondition that they broke themselves.
    """

    def __init__(self, inner: ObjectStore, retry: Retry | None = None) -> None:
        self.inner = inner
        self.retry = retry or Retry()

    @property
    def uri(self) -> str:
        return self.inner.uri

    @property
    def provider(self) -> str:
        return self.inner.provider

    @property
    def region(self) -> str | None:
        return self.inner.region

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    def checksum(self, data: Bytes) -> bytes:
        return self.inner.checksum(data)

    def fingerprint(self, data: Bytes) -> bytes:
        return self.inner.fingerprint(data)

    def put(self, key: str, data: Bytes, *, checksum: bytes | None = None, create_only: bool = False) -> ObjectInfo:
        def attempt() -> ObjectInfo:
            return self.inner.put(key, data, checksum=checksum, create_only=create_only)

        return self._create(attempt, lambda: self._is_ours(key, data) if create_only else None)

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> Reader:
        return self.retry.call(lambda: self.inner.open(key, start=start, end=end, etag=etag))

    def read_into(self, key: str, buffer: memoryview, *, start: int = 0, etag: str | None = None) -> None:
        self.retry.call(lambda: self.inner.read_into(key, buffer, start=start, etag=etag))

    def head(self, key: str) -> ObjectInfo:
        return self.retry.call(lambda: self.inner.head(key))

    def list_page(self, prefix: str = "", *, token: str | None = None, limit: int = 1000) -> Page:
        return self.retry.call(lambda: self.inner.list_page(prefix, token=token, limit=limit))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects in the folder `prefix` (or in the whole store), in the order of their keys."""
        token: str | None = None
        while True:
            page = self.list_page(f"{prefix.rstrip('/')}/" if prefix else "", token=token)
            yield from page.objects
            token = page.next
            if token is None:
                return

    def delete(self, key: str) -> None:
        self.retry.call(lambda: self.inner.delete(key))

    def can_copy_from(self, source: ObjectStore) -> bool:
        return self.inner.can_copy_from(bare(source))

    def copy_from(self, source: ObjectStore, source_key: str, key: str) -> ObjectInfo:
        return self.retry.call(lambda: self.inner.copy_from(bare(source), source_key, key))

    def presign(self, key: str, *, seconds: int) -> str:
        return self.inner.presign(key, seconds=seconds)

    def start_upload(self, key: str, *, part_size: int) -> Upload:
        return self.retry.call(lambda: self.inner.start_upload(key, part_size=part_size))

    def find_upload(self, key: str, *, part_size: int) -> Upload | None:
        return self.retry.call(lambda: self.inner.find_upload(key, part_size=part_size))

    def put_part(self, upload: Upload, number: int, data: Bytes) -> Part:
        return self.retry.call(lambda: self.inner.put_part(upload, number, data))

    def list_parts(self, upload: Upload) -> tuple[Part, ...]:
        return self.retry.call(lambda: self.inner.list_parts(upload))

    def finish_upload(self, upload: Upload, parts: Sequence[Part], *, create_only: bool = False) -> ObjectInfo:
        def attempt() -> ObjectInfo:
            return self.inner.finish_upload(upload, parts, create_only=create_only)

        def ours() -> ObjectInfo | None:
            found = self.head(upload.key)
            return found if self._is_made_of(found, parts) else None

        return self._create(attempt, ours)

    def abort_upload(self, upload: Upload) -> None:
        self.retry.call(lambda: self.inner.abort_upload(upload))

    def sweep(self, *, before: float) -> int:
        return self.retry.call(lambda: self.inner.sweep(before=before))

    def _is_ours(self, key: str, data: Bytes) -> ObjectInfo | None:
        """The object under `key`, when it holds exactly `data`."""
        info = self.head(key)
        if info.size != len(data):
            return None
        stored = bytearray(info.size)
        self.read_into(key, memoryview(stored), etag=info.etag)
        return info if stored == data else None

    def _is_made_of(self, found: ObjectInfo, parts: Sequence[Part]) -> bool:
        """Whether the object holds these parts and no more. It is read: another writer's may have the same size."""
        if found.size != sum(part.size for part in parts):
            return False
        start = 0
        for part in parts:
            piece = bytearray(part.size)
            self.read_into(found.key, memoryview(piece), start=start, etag=found.etag)
            if part.fingerprint != self.fingerprint(piece):
                return False
            start += part.size
        return True

    def _create(self, attempt: Callable[[], ObjectInfo], ours: Callable[[], ObjectInfo | None]) -> ObjectInfo:
        """Runs `attempt` with retries; after a doubtful failure `ours` tells whether it had worked all the same."""
        doubtful = deque[StoreError]()
        try:
            return self.retry.call(attempt, on_retry=doubtful.append)
        except StoreError as error:
            gone = isinstance(error, PreconditionFailed) or error.status == 404
            if doubtful and gone and (found := ours()):
                return found
            raise


def read_whole(store: ObjectStore, key: str, *, most: int) -> bytearray | None:
    """The object, by one request, which is made again when its answer breaks off; None for more than `most` bytes."""

    def attempt() -> bytearray | None:
        with bare(store).open(key) as reader:
            if reader.size is None:
                return _to_the_end(reader, most)
            if reader.size > most:
                return None
            data = bytearray(reader.size)
            view = memoryview(data)
            while view:
                got = reader.readinto(view)
                if not got:
                    raise TransientStoreError(f"{key} ended {len(view)} bytes early")
                view = view[got:]
        return data

    return (store.retry if isinstance(store, RetryingStore) else Retry()).call(attempt)


def _to_the_end(reader: Reader, most: int) -> bytearray | None:
    """All bytes of a stream that does not tell how many there are; None for more than `most`."""
    data, step = bytearray(), memoryview(bytearray(MIB))
    while got := reader.readinto(step):
        data += step[:got]
        if len(data) > most:
            return None
    return data


def bare(store: ObjectStore) -> ObjectStore:
    """The provider's own store inside any wrapping."""
    return store.inner if isinstance(store, RetryingStore) else store

"""What every object store can do, in one vocabulary.

A store is opened by `cloud_adapters.registry.open_store(uri)`; keys are relative to that address. All methods are
synchronous and safe to call from many threads. Providers make one attempt per call and raise the errors of
`cloud_adapters.errors`; `registry.open_store` wraps them so that retryable failures are retried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from cloud_adapters.errors import InvalidStore

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 1024 * 1024
Bytes = bytes | bytearray | memoryview
PRIVATE = ".neutrino"
"""The folder, in a store or in any folder of it, in which what is unfinished lies. No listing shows it."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Where clouds differ. `verifies`: the store refuses a body that does not fit its checksum. `copies_elsewhere`:
    `copy_from` happens on the provider's machines."""

    verifies: bool
    presigned_read: bool = True
    copies_elsewhere: bool = True
    max_parts: int = 10_000


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as the store describes it. `etag` changes with the content and is opaque; `md5` is raw, where known."""

    key: str
    size: int
    etag: str
    md5: bytes | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, sorted by key; `next` continues it and is None on the last page."""

    objects: tuple[ObjectInfo, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Upload:
    """An unfinished upload in parts. The store remembers it, so that any process on any machine can go on with it."""

    key: str
    id: str
    part_size: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part that has landed; `number` counts from 1, `token` is what the store wants back at the end. `fingerprint` is
    what `ObjectStore.fingerprint` makes of its bytes; None where the store cannot tell."""

    number: int
    size: int
    fingerprint: bytes | None
    token: str


@runtime_checkable
class Reader(Protocol):
    """A stream of one object's bytes; a body that ends early raises TransientStoreError, never looks complete."""

    @property
    def size(self) -> int | None:
        """Bytes that this stream will give in all; None when the store has not told, as with a chunked answer."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills the front of `buffer` and returns how many bytes; 0 at the end."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class ObjectStore(Protocol):
    """A bucket, a container or a folder, at `uri`. `provider` is the entry point's name."""

    @property
    def uri(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def region(self) -> str | None:
        """Where the bytes lie, as far as it is known without asking; the key of the egress tariff."""

    @property
    def capabilities(self) -> Capabilities: ...

    def checksum(self, data: Bytes) -> bytes:
        """What this store verifies a body with, raw: the cheapest digest that it knows."""

    def fingerprint(self, data: Bytes) -> bytes:
        """What the store tells of a part of an unfinished upload that holds `data`, raw."""

    def put(self, key: str, data: Bytes, *, checksum: bytes | None = None, create_only: bool = False) -> ObjectInfo:
        """Stores a whole object in one request, all of it or nothing.

        With `create_only` an existing object raises PreconditionFailed. The store is asked to verify the body with its
        checksum, which is made of `data` unless it is given.
        """

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> Reader:
        """Streams bytes `start` to `end` (exclusive). With `etag`, an object that changed raises PreconditionFailed."""

    def read_into(self, key: str, buffer: memoryview, *, start: int = 0, etag: str | None = None) -> None:
        """Fills `buffer` with the bytes from `start` on; raises TransientStoreError when fewer come."""

    def head(self, key: str) -> ObjectInfo: ...

    def list_page(self, prefix: str = "", *, token: str | None = None, limit: int = 1000) -> Page:
        """Objects whose keys begin with `prefix`, without what `is_hidden`; a page may be empty, and not the last."""

    def delete(self, key: str) -> None:
        """Removes the object; one that does not exist is no error."""

    def can_copy_from(self, source: ObjectStore) -> bool:
        """Whether `copy_from(source, …)` runs inside the provider, without the bytes passing through here."""

    def copy_from(self, source: ObjectStore, source_key: str, key: str) -> ObjectInfo: ...

    def presign(self, key: str, *, seconds: int) -> str:
        """A URL that lets its holder read the object for `seconds`."""

    def start_upload(self, key: str, *, part_size: int) -> Upload:
        """Begins an upload in parts; all parts but the last hold `part_size` bytes."""

    def find_upload(self, key: str, *, part_size: int) -> Upload | None:
        """The unfinished upload of `key` that was started with this `part_size`, if there is one."""

    def put_part(self, upload: Upload, number: int, data: Bytes) -> Part:
        """Stores a part; the store is asked to verify it. Sent twice, the last one counts."""

    def list_parts(self, upload: Upload) -> tuple[Part, ...]: ...

    def finish_upload(self, upload: Upload, parts: Sequence[Part], *, create_only: bool = False) -> ObjectInfo: ...

    def abort_upload(self, upload: Upload) -> None: ...

    def sweep(self, *, before: float) -> int:
        """Removes what lies here and is in no listing, if it was last written `before` (in seconds since 1970):
        unfinished uploads, and what else `is_hidden`; returns how many. A store may keep what it drops by itself."""


def check_key(key: str) -> str:
    """The key, or InvalidStore for one that some store would not keep as it is, or that climbs out of its folder."""
    segments = key.split("/")
    if not key or key.startswith("/") or any(segment in {".", ".."} for segment in segments):
        raise InvalidStore(f"{key!r} is not a key inside a store", hint="Use a relative path without '..'.")
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:  # how Python shows a file's name that is not UTF-8
        raise InvalidStore(f"{key!r} is not a key: it is not UTF-8", hint="Give the file another name.") from error
    if "" in segments or any(ord(char) < 32 or ord(char) == 127 for char in key) or size > 1024:
        raise InvalidStore(f"{key!r} is not a key that every store keeps unchanged")
    return key


def is_hidden(key: str, size: int) -> bool:
    """Whether no listing shows it: what is below PRIVATE, and the empty objects whose names end with a slash, by which
    the clouds' own consoles show folders. An empty key is that of the store's own folder."""
    return f"/{PRIVATE}/" in f"/{key}" or (not size and (not key or key.endswith("/")))


def join_key(*parts: str) -> str:
    """The parts with single slashes between them; empty parts vanish."""
    return "/".join(stripped for part in parts if (stripped := part.strip("/")))

"""The protocol that every object store speaks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object in a store; `size` in bytes."""

    key: str
    size: int


class ObjectStore(Protocol):
    """Objects by key, all or nothing: an object is visible whole or not at all, also after a crash.

    Keys are relative POSIX paths. Every method raises a `cloud_adapters.errors.StoreError` when it cannot do its work.
    """

    @property
    def uri(self) -> str:
        """The address from which `cloud_adapters.registry.open_store` makes this store again."""

    def put(self, key: str, chunks: Iterable[bytes], *, create_only: bool = False) -> None:
        """Write an object. With `create_only`, raises PreconditionFailed when there is one of that key: of several who
        try at once, exactly one succeeds."""

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of an object from `offset` on, in chunks. Raises ObjectNotFound before the first chunk."""

    def head(self, key: str) -> ObjectInfo:
        """What is known of an object. Raises ObjectNotFound."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key begins with `prefix` followed by a slash, in the order of their keys."""

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

"""What the providers with an HTTP data path share: keys below a prefix, ranged reads, and errors."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

from cloud_adapters.base import ObjectInfo, Page, check_key, is_hidden, join_key
from cloud_adapters.errors import PreconditionFailed, TransientStoreError
from cloud_adapters.faults import error_from_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_adapters.base import Bytes, Reader
    from cloud_adapters.wire import Response

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 20
FINISH_TIMEOUT_S = 300  # putting a large object together may take the service minutes, in which it says nothing
_SWEEP_PAGE = 1000


class Listed(NamedTuple):
    """An entry of a listing, and when it was last written, in seconds since 1970."""

    info: ObjectInfo
    modified: float


class CloudStore(ABC):
    """Base of the HTTP stores. `uri` is the address as it was given, without credentials."""

    def __init__(self, uri: str, bucket: str, prefix: str) -> None:
        self.uri = uri
        self.bucket = bucket
        self.prefix = prefix

    @abstractmethod
    def _send(
        self,
        method: str,
        key: str,
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        body: Sequence[Bytes] = (),
    ) -> Response:
        """One signed request for the object at `key`."""

    @abstractmethod
    def _get(self, key: str, headers: dict[str, str], etag: str | None) -> Response:
        """A GET of the object's bytes, conditional on `etag` in the provider's way."""

    @abstractmethod
    def _page(self, prefix: str, token: str | None, limit: int) -> tuple[list[Listed], str | None]:
        """One page of what there is, hidden or not, and where the next one begins."""

    @abstractmethod
    def _remove(self, full_key: str) -> None:
        """Deletes the object with this key inside the bucket; one that does not exist is no error."""

    @abstractmethod
    def _control(self, what: str) -> AbstractContextManager[None]:
        """Turns the SDK's errors into ours."""

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> Reader:
        headers = {}
        if start or end is not None:
            if end is not None and end <= start:
                raise PreconditionFailed(f"{key}: bytes {start} to {end} are no range")
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        response = self.checked(key, self._get(key, headers, etag))
        if headers and response.status != 206:
            response.close()
            raise TransientStoreError(f"{key}: the store sent the whole object instead of a range")
        if not response.ends_itself:
            response.close()
            raise TransientStoreError(f"{key}: the store does not tell where the object ends")
        return response

    def read_into(self, key: str, buffer: memoryview, *, start: int = 0, etag: str | None = None) -> None:
        if not len(buffer):
            return
        at = 0
        with self.open(key, start=start, end=start + len(buffer), etag=etag) as reader:
            while at < len(buffer):
                got = reader.readinto(buffer[at:])
                if not got:
                    raise TransientStoreError(f"{key}: ended after {start + at} bytes")
                at += got

    def list_page(self, prefix: str = "", *, token: str | None = None, limit: int = 1000) -> Page:
        found, following = self._page(prefix, token, limit)
        shown = (one.info for one in found if not is_hidden(one.info.key, one.info.size))
        return Page(tuple(shown), following)

    def delete(self, key: str) -> None:
        self._remove(self.full_key(key))

    def sweep(self, *, before: float) -> int:
        """What is below PRIVATE goes folder by folder, so that an upload is kept whole while parts arrive."""
        folders = dict[str, list[Listed]]()
        token: str | None = None
        while True:
            found, token = self._page("", token, _SWEEP_PAGE)
            for one in found:
                if is_hidden(one.info.key, one.info.size):
                    folders.setdefault(one.info.key.rpartition("/")[0], []).append(one)
            if token is None:
                break
        idle = [folder for folder in folders.values() if max(one.modified for one in folder) < before]
        for one in itertools.chain(*idle):
            self._remove(f"{self._full_prefix('')}{one.info.key}")
        return sum(len(folder) for folder in idle)

    def checked(self, what: str, response: Response) -> Response:
        """The response when it is a success; otherwise its error, with the connection given back."""
        if response.status < 300:
            return response
        raise error_from_body(what, response.status, response.headers, response.read())

    def _put(self, key: str, data: Bytes, headers: dict[str, str], query: str = "") -> dict[str, str]:
        """A body as a PUT; returns the answer's headers."""
        answer = self.checked(key, self._send("PUT", key, query=query, headers=headers, body=[data]))
        with answer as response:
            response.read()
            return response.headers

    def full_key(self, key: str) -> str:
        """The key inside the bucket."""
        return join_key(self.prefix, check_key(key))

    def _full_prefix(self, prefix: str) -> str:
        return f"{self.prefix}/{prefix}" if self.prefix else prefix

    def _relative(self, full_key: str) -> str:
        return full_key[len(self.prefix) + 1 :] if self.prefix else full_key

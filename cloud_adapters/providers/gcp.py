"""Google Cloud Storage: `gs://bucket/prefix?endpoint=…`.

google-cloud-storage finds credentials as its users expect (Application Default Credentials, workload identity) and does
control calls; object bytes go through `cloud_adapters.wire` over the JSON API. GCS has no parts that can be sent in
parallel and listed later other than objects of their own, so an upload in parts is a set of components below
`.neutrino/`, put together by `compose`. Docs: Cloud Storage JSON API, "Composite objects".
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import google_crc32c
import requests
from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
from google.auth.transport.requests import Request
from google.cloud.storage import Client

from cloud_adapters.addresses import StoreUri, check_endpoint, check_trusted
from cloud_adapters.base import MIB, PRIVATE, Bytes, Capabilities, ObjectInfo, ObjectStore, Part, Upload, join_key
from cloud_adapters.cloud import CONNECT_TIMEOUT_S, FINISH_TIMEOUT_S, READ_TIMEOUT_S, CloudStore, Listed
from cloud_adapters.errors import AccessDenied, CredentialsExpired, InvalidStore, StoreError, TransientStoreError
from cloud_adapters.faults import store_error
from cloud_adapters.wire import Response, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COMPOSE_LIMIT = 32
_CALL: dict[str, Any] = {"timeout": (CONNECT_TIMEOUT_S, READ_TIMEOUT_S), "retry": None}
_FINISH = _CALL | {"timeout": (CONNECT_TIMEOUT_S, FINISH_TIMEOUT_S)}
_PUBLIC = "https://storage.googleapis.com"


def open_gcs(uri: StoreUri) -> GcsStore:
    """The bucket at `uri`; an emulator (`?endpoint=http://…` or STORAGE_EMULATOR_HOST) is spoken to anonymously. By
    https, only Google's own hosts, and those that the environment names, are told the credentials."""
    endpoint = uri.only("endpoint", "region").get("endpoint") or os.environ.get("STORAGE_EMULATOR_HOST")
    origin = _PUBLIC
    options: dict[str, Any] = {}
    if endpoint:
        origin = check_endpoint(endpoint if "://" in endpoint else f"http://{endpoint}")
        options["client_options"] = {"api_endpoint": origin}
    if origin.startswith("http://"):
        options |= {"credentials": AnonymousCredentials(), "project": "emulator"}  # type: ignore[no-untyped-call]
    else:
        check_trusted(origin, (".googleapis.com",))
    try:
        return GcsStore(uri, Client(**options), origin)
    except DefaultCredentialsError as error:
        hint = "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS."
        raise AccessDenied(f"{uri.text}: no Google credentials were found.", hint=hint) from error
    except (OSError, ValueError) as error:
        raise InvalidStore(f"{uri.text}: {error}") from error


class GcsStore(CloudStore):
    """One bucket, or a prefix in it. An `etag` here is the object's generation."""

    provider = "gcp"
    capabilities = Capabilities(verifies=True)

    def __init__(self, uri: StoreUri, client: Any, origin: str) -> None:
        super().__init__(uri.text, uri.bucket, uri.prefix)
        self.region = uri.options.get("region")  # for the tariff only
        self.client = client
        client._http.max_redirects = 0  # noqa: SLF001 - the service sends none, and another's could lead anywhere
        self.origin = origin
        self.handle = client.bucket(uri.bucket)
        self._wire = Wire(origin)
        self._path = urlsplit(origin).path
        self._lock = threading.Lock()

    def checksum(self, data: Bytes) -> bytes:
        crc, view = 0, memoryview(data)
        for start in range(0, len(view), MIB):  # in small copies, because it takes nothing that could be written to
            crc = google_crc32c.extend(crc, bytes(view[start : start + MIB]))
        return crc.to_bytes(4)

    def fingerprint(self, data: Bytes) -> bytes:
        return self.checksum(data)

    def put(self, key: str, data: Bytes, *, checksum: bytes | None = None, create_only: bool = False) -> ObjectInfo:
        return self._upload(self.full_key(key), key, data, checksum or self.checksum(data), create_only=create_only)

    def head(self, key: str) -> ObjectInfo:
        blob = self._blob(key)
        with self._control(key):
            blob.reload(**_CALL)
        return _info(key, blob)

    def _page(self, prefix: str, token: str | None, limit: int) -> tuple[list[Listed], str | None]:
        with self._control(self.uri):
            pages = self.client.list_blobs(
                self.bucket, prefix=self._full_prefix(prefix), page_size=limit, page_token=token, **_CALL
            )
            found = list(next(pages.pages, ()))
        return [
            Listed(_info(self._relative(blob.name), blob), blob.updated.timestamp()) for blob in found
        ], pages.next_page_token

    def _remove(self, full_key: str) -> None:
        with self._control(full_key):
            try:
                self.handle.blob(full_key).delete(**_CALL)
            except NotFound:
                if not self._has_bucket():
                    raise

    def _has_bucket(self) -> bool:
        try:
            return bool(self.handle.exists(**_CALL))
        except Forbidden:  # who may not look at buckets is told that of those only that are there
            return True

    def can_copy_from(self, source: ObjectStore) -> bool:
        return isinstance(source, GcsStore) and source.origin == self.origin

    def copy_from(self, source: ObjectStore, source_key: str, key: str) -> ObjectInfo:
        if not isinstance(source, GcsStore):
            raise StoreError(f"{source.uri} is not on GCS; its objects cannot be copied there")
        target = self._blob(key)
        with self._control(source_key):
            token, _, _ = target.rewrite(source._blob(source_key), **_CALL)  # noqa: SLF001 - the same class
            while token:
                token, _, _ = target.rewrite(source._blob(source_key), token=token, **_CALL)  # noqa: SLF001
        return self.head(key)

    def presign(self, key: str, *, seconds: int) -> str:
        if isinstance(self.client._credentials, AnonymousCredentials):  # noqa: SLF001 - nothing to sign with, nor any need
            return (
                f"{self.origin}/download/storage/v1/b/{self.bucket}/o/{quote(self.full_key(key), safe='~')}?alt=media"
            )
        with self._control(key):
            try:
                return str(self._blob(key).generate_signed_url(version="v4", expiration=timedelta(seconds=seconds)))
            except AttributeError as error:
                hint = "Use a service account: Google signs URLs only for those."
                raise AccessDenied(f"{key}: these credentials cannot sign a URL.", hint=hint) from error

    def start_upload(self, key: str, *, part_size: int) -> Upload:
        upload = self._named(key, part_size)
        self.abort_upload(upload)
        return upload

    def find_upload(self, key: str, *, part_size: int) -> Upload | None:
        upload = self._named(key, part_size)
        return upload if self.list_parts(upload) else None

    def put_part(self, upload: Upload, number: int, data: Bytes) -> Part:
        name = f"{self._folder(upload)}{number:05d}"
        checksum = self.checksum(data)
        generation = self._upload(name, upload.key, data, checksum, create_only=False).etag
        return Part(number, len(data), checksum, f"{generation}/{name}")

    def list_parts(self, upload: Upload) -> tuple[Part, ...]:
        folder = self._folder(upload)
        with self._control(upload.key):
            found = list(self.client.list_blobs(self.bucket, prefix=folder, **_CALL))
        named = [(blob.name[len(folder) :], blob) for blob in found]
        return tuple(
            Part(int(name), blob.size, base64.b64decode(blob.crc32c), f"{blob.generation}/{blob.name}")
            for name, blob in sorted(named, key=lambda pair: pair[0])
            if name.isdigit()
        )

    def finish_upload(self, upload: Upload, parts: Sequence[Part], *, create_only: bool = False) -> ObjectInfo:
        """Each component is asked for in the generation that was sent: another writer may have replaced it since."""
        tokens = [part.token for part in parts]
        level = 0
        with self._control(upload.key):
            while len(tokens) > _COMPOSE_LIMIT:
                level += 1
                groups = [tokens[at : at + _COMPOSE_LIMIT] for at in range(0, len(tokens), _COMPOSE_LIMIT)]
                composed = [
                    self._compose(f"{self._folder(upload)}c{level}-{number}", group)
                    for number, group in enumerate(groups)
                ]
                tokens = [f"{blob.generation}/{blob.name}" for blob in composed]
            blob = self._compose(
                self.full_key(upload.key), tokens, **({"if_generation_match": 0} if create_only else {})
            )
        self.abort_upload(upload)
        return _info(upload.key, blob)

    def abort_upload(self, upload: Upload) -> None:
        with self._control(upload.key):
            for blob in list(self.client.list_blobs(self.bucket, prefix=self._folder(upload), **_CALL)):
                try:
                    blob.delete(**_CALL)
                except NotFound:
                    continue  # another process is cleaning up too

    def _compose(self, name: str, tokens: list[str], **conditions: Any) -> Any:
        blob = self.handle.blob(name)
        blob.content_type = "application/octet-stream"
        generations, names = zip(*(token.split("/", 1) for token in tokens), strict=True)
        sources = [self.handle.blob(one) for one in names]
        blob.compose(sources, if_source_generation_match=[int(one) for one in generations], **conditions, **_FINISH)
        return blob

    def _named(self, key: str, part_size: int) -> Upload:
        return Upload(key, hashlib.sha256(f"{part_size}/{self.full_key(key)}".encode()).hexdigest(), part_size)

    def _folder(self, upload: Upload) -> str:
        return join_key(self.prefix, PRIVATE, upload.id) + "/"

    def _blob(self, key: str) -> Any:
        return self.handle.blob(self.full_key(key))

    def _upload(self, name: str, key: str, data: Bytes, checksum: bytes, *, create_only: bool) -> ObjectInfo:
        """One `multipart/related` request: the object's name and CRC32C, which the service verifies, then its bytes."""
        resource = {"name": name, "crc32c": base64.b64encode(checksum).decode()}
        boundary = secrets.token_hex(16)
        before = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(resource)}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        query = "uploadType=multipart" + ("&ifGenerationMatch=0" if create_only else "")
        target = f"{self._path}/upload/storage/v1/b/{quote(self.bucket, safe='')}/o?{query}"
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        body = [before.encode(), data, f"\r\n--{boundary}--".encode()]
        with self.checked(key, self._authorized("POST", target, headers, body)) as response:
            try:
                generation = str(json.loads(response.read())["generation"])
            except (ValueError, KeyError) as error:
                raise TransientStoreError(f"{key}: the store's answer makes no sense") from error
        return ObjectInfo(key, len(data), generation)

    def _get(self, key: str, headers: dict[str, str], etag: str | None) -> Response:
        return self._send("GET", key, query=f"ifGenerationMatch={etag}" if etag else "", headers=headers)

    def _send(
        self,
        method: str,
        key: str,
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        body: Sequence[Bytes] = (),
    ) -> Response:
        queries = "&".join(part for part in ("alt=media", query) if part)
        name = quote(self.full_key(key), safe="~")
        target = f"{self._path}/download/storage/v1/b/{quote(self.bucket, safe='')}/o/{name}?{queries}"
        return self._authorized(method, target, headers or {}, body)

    def _authorized(self, method: str, target: str, headers: dict[str, str], body: Sequence[Bytes]) -> Response:
        with self._control(self.uri), self._lock:
            credentials = self.client._credentials  # noqa: SLF001 - the client offers no other way to its token
            if not isinstance(credentials, AnonymousCredentials):
                if not credentials.valid:
                    credentials.refresh(Request())
                headers = headers | {"Authorization": f"Bearer {credentials.token}"}
        return self._wire.send(method, target, headers, body)

    @contextmanager
    def _control(self, what: str) -> Iterator[None]:
        try:
            yield
        except GoogleAPICallError as error:
            raise store_error(what, int(error.code or 500), "", str(error.message)) from error
        except RefreshError as error:
            raise CredentialsExpired(f"{what}: the Google credentials cannot be renewed: {error}") from error
        except (GoogleAuthError, requests.RequestException, ConnectionError, TimeoutError) as error:
            raise TransientStoreError(f"{what}: {error}") from error


def _md5(blob: Any) -> bytes | None:
    return base64.b64decode(blob.md5_hash) if blob.md5_hash else None


def _info(key: str, blob: Any) -> ObjectInfo:
    return ObjectInfo(key, int(blob.size or 0), str(blob.generation), _md5(blob))

"""Azure Blob Storage: `az://container/prefix?account=…` (or `?endpoint=https://host/account`).

Credentials, in this order: AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, and then
azure-identity's default chain (workload identity, managed identity, `az login`). The SDK does control calls; object
bytes go through `cloud_adapters.wire` with a SAS of one hour or a bearer token. Docs: the Blob service REST API.
"""

from __future__ import annotations

import base64
import os
import re
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from awscrt.checksums import crc64nvme
from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import (
    BlobBlock,
    BlobServiceClient,
    ContainerSasPermissions,
    generate_blob_sas,
    generate_container_sas,
)

from cloud_adapters.addresses import StoreUri, check_endpoint, check_trusted, is_loopback
from cloud_adapters.base import MIB, Bytes, Capabilities, ObjectInfo, ObjectStore, Part, Upload
from cloud_adapters.cloud import CONNECT_TIMEOUT_S, FINISH_TIMEOUT_S, READ_TIMEOUT_S, CloudStore, Listed
from cloud_adapters.errors import (
    AccessDenied,
    CopyAbandoned,
    CorruptObject,
    InvalidStore,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
    TransientStoreError,
)
from cloud_adapters.faults import store_error
from cloud_adapters.streams import md5_of
from cloud_adapters.wire import Response, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_VERSION = "2021-12-02"
_SAS_LIFE = timedelta(hours=1)
_RENEW_BEFORE_S = 300.0
_COPY_POLL_S = 0.2
_COPY_LIMIT_S = 300.0
_BLOCK_LIST_LIMIT = 16 * MIB
_BLOCK = re.compile(rb"<Block>\s*<Name>([^<]+)</Name>\s*<Size>(\d+)</Size>\s*</Block>")
_BLOCK_ID = re.compile(r"(\d{5})\.(\d{12})\.([0-9a-f]{16})")
_ACCOUNT = re.compile(r"[a-z0-9-]{3,40}")
_UNKNOWN_HEADER = "FeatureNotSupported"
_DOMAINS = (
    ".blob.core.windows.net",
    ".blob.storage.azure.net",
    ".blob.core.chinacloudapi.cn",
    ".blob.core.usgovcloudapi.net",
)
_SCOPE = "https://storage.azure.com/.default"


def open_azure(uri: StoreUri) -> AzureStore:
    """The container at `uri`."""
    options = uri.only("account", "endpoint", "region")
    timeouts: dict[str, Any] = {
        "retry_total": 0,
        "connection_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "permit_redirects": False,  # the service sends none, and another's could lead anywhere
    }
    connection = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    try:
        if connection and not options.keys() & {"account", "endpoint"}:
            service = BlobServiceClient.from_connection_string(connection, **timeouts)
            if not (urlsplit(service.url).hostname or "").endswith(_DOMAINS):
                check_endpoint(str(service.url).split("?", 1)[0])
        else:
            account = options.get("account") or os.environ.get("AZURE_STORAGE_ACCOUNT")
            if not account and "endpoint" not in options:
                hint = "Write az://container?account=name, or set AZURE_STORAGE_ACCOUNT."
                raise InvalidStore(f"{uri.text!r} does not say which storage account", hint=hint)
            if "endpoint" not in options and not _ACCOUNT.fullmatch(str(account)):
                raise InvalidStore(f"{account!r} is not the name of a storage account")
            url = options.get("endpoint") or f"https://{account}.blob.core.windows.net"
            check_endpoint(url)
            if not (is_loopback(url) and os.environ.get("AZURE_STORAGE_KEY")):  # a key signs; emulators have their own
                check_trusted(url, _DOMAINS)
            service = BlobServiceClient(url, credential=_credential(), **timeouts)
    except ValueError as error:
        raise InvalidStore(f"{uri.text}: {error}") from error
    return AzureStore(uri, service)


def _credential() -> Any:
    if key := os.environ.get("AZURE_STORAGE_KEY") or os.environ.get("AZURE_STORAGE_SAS_TOKEN"):
        return key
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - slow to import, and needed by this branch only

    return DefaultAzureCredential()


class AzureStore(CloudStore):
    """One container, or a prefix in it. Blobs are block blobs; a block's id carries its number, size and CRC64."""

    provider = "azure"
    capabilities = Capabilities(verifies=True, max_parts=50_000)

    def __init__(self, uri: StoreUri, service: Any) -> None:
        super().__init__(uri.text, uri.bucket, uri.prefix)
        self.region = uri.options.get("region")  # for the tariff only
        self.service = service
        self.container = service.get_container_client(uri.bucket)
        url = urlsplit(self.container.url)
        self._path = url.path
        self._given_sas = url.query
        self._wire = Wire(f"{url.scheme}://{url.netloc}")
        self._lock = threading.Lock()
        self._sas, self._sas_renewal = "", 0.0
        self._knows_crc64 = True

    def checksum(self, data: Bytes) -> bytes:
        return int(crc64nvme(data)).to_bytes(8, "little")  # Azure's CRC64 is the same polynomial

    def fingerprint(self, data: Bytes) -> bytes:
        return self.checksum(data)

    def put(self, key: str, data: Bytes, *, checksum: bytes | None = None, create_only: bool = False) -> ObjectInfo:
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        if create_only:
            headers["If-None-Match"] = "*"
        answer = self._put_verified(key, data, checksum, headers)
        return ObjectInfo(key, len(data), answer.get("etag", ""))

    def head(self, key: str) -> ObjectInfo:
        with self._control(key):
            found = self._blob(key).get_blob_properties()
        return _info(key, found)

    def _page(self, prefix: str, token: str | None, limit: int) -> tuple[list[Listed], str | None]:
        with self._control(self.uri):
            pages = self.container.list_blobs(
                name_starts_with=self._full_prefix(prefix), results_per_page=limit
            ).by_page(token)
            found = list(next(pages, ()))
        return [
            Listed(_info(self._relative(one.name), one), one.last_modified.timestamp()) for one in found
        ], pages.continuation_token or None

    def _remove(self, full_key: str) -> None:
        try:
            with self._control(full_key):
                self.container.get_blob_client(full_key).delete_blob(delete_snapshots="include")
        except ObjectNotFound as error:
            if _code(error.__cause__) == "ContainerNotFound":
                raise
            if _code(error.__cause__) != "BlobNotFound":  # a SAS of the container is not allowed to look for it
                self._require_container()

    def can_copy_from(self, source: ObjectStore) -> bool:
        return isinstance(source, AzureStore) and source.service.primary_hostname == self.service.primary_hostname

    def copy_from(self, source: ObjectStore, source_key: str, key: str) -> ObjectInfo:
        if not isinstance(source, AzureStore):
            raise StoreError(f"{source.uri} is not on Azure; its objects cannot be copied there")
        url = source.presign(source_key, seconds=3600)
        with self._control(source_key):
            self._copy(self._blob(key), url, source_key)
        return self.head(key)

    def _copy(self, blob: Any, url: str, what: str) -> None:
        """The service copies on its own and has no way to call back. A copy that an earlier call began is waited for
        too: the service begins no second one."""
        try:
            state = blob.start_copy_from_url(url)["copy_status"]
        except HttpResponseError as error:
            if _code(error) != "PendingCopyOperation":
                raise
            state = "pending"
        deadline = time.monotonic() + _COPY_LIMIT_S
        while state == "pending" and time.monotonic() < deadline:
            time.sleep(_COPY_POLL_S)
            copy = blob.get_blob_properties().copy
            state = copy.status
        if state == "pending":
            blob.abort_copy(copy.id)
            raise CopyAbandoned(f"{what}: the copy inside Azure took more than {_COPY_LIMIT_S:.0f} s.")
        if state != "success":
            raise TransientStoreError(f"{what}: the copy inside Azure ended as {state!r}")

    def presign(self, key: str, *, seconds: int) -> str:
        expiry = datetime.now(UTC) + timedelta(seconds=seconds)
        with self._control(key):
            blob = self._blob(key)
            if self._given_sas:
                return str(blob.url)
            sas = generate_blob_sas(
                blob.account_name,
                self.bucket,
                self.full_key(key),
                permission="r",
                expiry=expiry,
                **self._sign_with(expiry),
            )
        return f"{blob.url}?{sas}"

    def start_upload(self, key: str, *, part_size: int) -> Upload:
        self.full_key(key)
        return Upload(key, "blocks", part_size)  # blocks belong to the blob's name: there is nothing to open

    def find_upload(self, key: str, *, part_size: int) -> Upload | None:
        upload = Upload(key, "blocks", part_size)
        try:
            return upload if self.list_parts(upload) else None
        except ObjectNotFound:
            return None

    def put_part(self, upload: Upload, number: int, data: Bytes) -> Part:
        checksum = self.checksum(data)
        block = f"{number:05d}.{upload.part_size:012d}.{checksum.hex()}"
        query = f"comp=block&blockid={quote(base64.b64encode(block.encode()), safe='')}"
        self._put_verified(upload.key, data, checksum, {}, query)
        return Part(number, len(data), checksum, block)

    def list_parts(self, upload: Upload) -> tuple[Part, ...]:
        query = "comp=blocklist&blocklisttype=uncommitted"
        # Not through the SDK: its get_block_list raises a TypeError for an error without a message.
        with self.checked(upload.key, self._send("GET", upload.key, query=query)) as response:
            listing = response.read(_BLOCK_LIST_LIMIT)
        parts: dict[int, Part] = {}
        for name, size in _BLOCK.findall(listing):
            block = base64.b64decode(name).decode(errors="replace")
            if found := _BLOCK_ID.fullmatch(block):
                number, part_size, checksum = found.groups()
                if int(part_size) == upload.part_size:
                    parts[int(number)] = Part(int(number), int(size), bytes.fromhex(checksum), block)
        return tuple(parts[number] for number in sorted(parts))

    def finish_upload(self, upload: Upload, parts: Sequence[Part], *, create_only: bool = False) -> ObjectInfo:
        condition = {"match_condition": MatchConditions.IfMissing} if create_only else {}
        with self._control(upload.key):
            blocks = [BlobBlock(part.token) for part in parts]
            answer = self._blob(upload.key).commit_block_list(blocks, read_timeout=FINISH_TIMEOUT_S, **condition)
        return ObjectInfo(upload.key, sum(part.size for part in parts), answer["etag"])

    def abort_upload(self, upload: Upload) -> None:
        """Azure drops blocks when their blob is committed, else after a week: an empty one is committed and removed,
        unless somebody has put another in its place."""
        try:
            empty = self.finish_upload(upload, [], create_only=True)
        except PreconditionFailed:
            return  # there is a blob of that name, which is not ours to touch
        with self._control(upload.key), suppress(ResourceModifiedError, ResourceNotFoundError):
            self._blob(upload.key).delete_blob(etag=empty.etag, match_condition=MatchConditions.IfNotModified)

    def _put_verified(
        self, key: str, data: Bytes, checksum: bytes | None, headers: dict[str, str], query: str = ""
    ) -> dict[str, str]:
        """A body that the service verifies by its CRC64. Where that is not known (as in Azurite), and when it does not
        fit, the MD5 has the last word. A `checksum` that is wrong on purpose makes both of them wrong."""
        told = checksum or self.checksum(data)
        if self._knows_crc64:
            try:
                crc64 = base64.b64encode(told).decode()
                return self._put(key, data, headers | {"x-ms-content-crc64": crc64}, query)
            except CorruptObject:
                if told != self.checksum(data):
                    raise
            except StoreError as error:
                if _UNKNOWN_HEADER not in error.message:
                    raise
                self._knows_crc64 = False
        md5 = base64.b64encode(md5_of(data) if told == self.checksum(data) else bytes(16)).decode()
        return self._put(key, data, headers | {"Content-MD5": md5}, query)

    def _blob(self, key: str) -> Any:
        return self.container.get_blob_client(self.full_key(key))

    def _require_container(self) -> None:
        with self._control(self.uri):
            self.container.get_container_properties()

    def _get(self, key: str, headers: dict[str, str], etag: str | None) -> Response:
        return self._send("GET", key, headers=headers | ({"If-Match": etag} if etag else {}))

    def _send(
        self,
        method: str,
        key: str,
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        body: Sequence[Bytes] = (),
    ) -> Response:
        target = f"{self._path}/{quote(self.full_key(key), safe='/~')}"
        sas, authorization = self._authority()
        if queries := "&".join(part for part in (query, sas) if part):
            target = f"{target}?{queries}"
        return self._wire.send(method, target, (headers or {}) | {"x-ms-version": _VERSION} | authorization, body)

    def _authority(self) -> tuple[str, dict[str, str]]:
        """What makes a request ours: a query or a header."""
        if self._given_sas:
            return self._given_sas, {}
        if not hasattr(self.service.credential, "account_key"):
            with self._control(self.uri), self._lock:
                token = self.service.credential.get_token(_SCOPE).token  # the credential caches and renews it
            return "", {"Authorization": f"Bearer {token}"}
        with self._lock:
            if time.time() > self._sas_renewal:  # as the service reckons: the other clock stops when a machine sleeps
                expiry = datetime.now(UTC) + _SAS_LIFE
                permission = ContainerSasPermissions(read=True, write=True, create=True)
                self._sas = generate_container_sas(
                    self.service.account_name,
                    self.bucket,
                    permission=permission,
                    expiry=expiry,
                    **self._sign_with(expiry),
                )
                self._sas_renewal = expiry.timestamp() - _RENEW_BEFORE_S
            return self._sas, {}

    def _sign_with(self, expiry: datetime) -> dict[str, Any]:
        credential = self.service.credential
        if hasattr(credential, "account_key"):
            return {"account_key": credential.account_key}
        now = datetime.now(UTC)
        return {"user_delegation_key": self.service.get_user_delegation_key(now - timedelta(minutes=5), expiry)}

    @contextmanager
    def _control(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientAuthenticationError as error:
            hint = "Set AZURE_STORAGE_KEY or AZURE_STORAGE_CONNECTION_STRING, or log in with `az login`."
            raise AccessDenied(f"{what}: {error.message}", hint=hint) from error
        except HttpResponseError as error:
            raise store_error(what, error.status_code or 500, _code(error), error.reason or "") from error
        except AzureError as error:
            raise TransientStoreError(f"{what}: {error}") from error


def _code(error: BaseException | None) -> str:
    """What the service calls an error; empty where it has not told."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _info(key: str, found: Any) -> ObjectInfo:
    md5 = found.content_settings.content_md5
    return ObjectInfo(key, found.size, f'"{found.etag.strip(chr(34))}"', bytes(md5) if md5 else None)

"""Amazon S3 and everything that speaks its protocol: `s3://bucket/prefix?endpoint=…&region=…`.

boto3 finds credentials, region, profile and endpoint as its users expect, and does control calls; object bytes go
through `cloud_adapters.wire` with a signature of our own. Docs: the Amazon S3 API Reference.
"""

from __future__ import annotations

import base64
import binascii
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from cloud_adapters.addresses import StoreUri, check_endpoint
from cloud_adapters.base import Bytes, Capabilities, ObjectInfo, ObjectStore, Part, Upload
from cloud_adapters.cloud import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, CloudStore, Listed
from cloud_adapters.errors import AccessDenied, InvalidStore, ObjectNotFound, StoreError, TransientStoreError
from cloud_adapters.faults import store_error
from cloud_adapters.signature import signed
from cloud_adapters.streams import md5_of
from cloud_adapters.wire import Response, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def open_s3(uri: StoreUri) -> S3Store:
    """The bucket at `uri`."""
    options = uri.only("endpoint", "region")
    endpoint = options.get("endpoint")
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},  # retries happen once, in RetryingStore
        max_pool_connections=32,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if endpoint else "auto"},
        signature_version="s3v4",
    )
    try:
        session = boto3.session.Session(region_name=options.get("region"))
        region = session.region_name or "us-east-1"
        client = session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise InvalidStore(f"{uri.text}: {error}") from error
    if not (urlsplit(client.meta.endpoint_url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
        check_endpoint(client.meta.endpoint_url)
    return S3Store(uri, session, client, region)


class S3Store(CloudStore):
    """One bucket, or a prefix in it."""

    provider = "aws"
    capabilities = Capabilities(verifies=True)

    def __init__(self, uri: StoreUri, session: Any, client: Any, region: str) -> None:
        super().__init__(uri.text, uri.bucket, uri.prefix)
        self.region = region
        self.client = client
        self._session = session
        self._lock = threading.Lock()
        with self._control(self.uri):
            url = urlsplit(client.generate_presigned_url("get_object", Params={"Bucket": self.bucket, "Key": "k"}))
        self._path = url.path[: -len("k")]
        self._wire = Wire(f"{url.scheme}://{url.netloc}")

    def checksum(self, data: Bytes) -> bytes:
        return md5_of(data)  # of all digests the one that every server knows which speaks S3

    def fingerprint(self, data: Bytes) -> bytes:
        return md5_of(data)  # the ETag of a part

    def put(self, key: str, data: Bytes, *, checksum: bytes | None = None, create_only: bool = False) -> ObjectInfo:
        headers = {"Content-MD5": _b64(checksum or self.checksum(data))}
        if create_only:
            headers["If-None-Match"] = "*"
        return _info(key, len(data), self._put(key, data, headers).get("etag", ""))

    def head(self, key: str) -> ObjectInfo:
        with self._control(key):
            found = self.client.head_object(Bucket=self.bucket, Key=self.full_key(key))
        return _info(key, found["ContentLength"], found["ETag"])

    def _page(self, prefix: str, token: str | None, limit: int) -> tuple[list[Listed], str | None]:
        more = {"ContinuationToken": token} if token else {}
        with self._control(self.uri):
            found = self.client.list_objects_v2(
                Bucket=self.bucket, Prefix=self._full_prefix(prefix), MaxKeys=limit, **more
            )
        return [
            Listed(_info(self._relative(one["Key"]), one["Size"], one["ETag"]), one["LastModified"].timestamp())
            for one in found.get("Contents", [])
        ], found.get("NextContinuationToken")

    def _remove(self, full_key: str) -> None:
        with self._control(full_key):
            self.client.delete_object(Bucket=self.bucket, Key=full_key)

    def can_copy_from(self, source: ObjectStore) -> bool:
        return isinstance(source, S3Store) and source.client.meta.endpoint_url == self.client.meta.endpoint_url

    def copy_from(self, source: ObjectStore, source_key: str, key: str) -> ObjectInfo:
        if not isinstance(source, S3Store):
            raise StoreError(f"{source.uri} is not on S3; its objects cannot be copied there")
        origin = {"Bucket": source.bucket, "Key": source.full_key(source_key)}
        with self._control(source_key):
            self.client.copy(origin, self.bucket, self.full_key(key), SourceClient=source.client)
        return self.head(key)

    def presign(self, key: str, *, seconds: int) -> str:
        with self._control(key):
            parameters = {"Bucket": self.bucket, "Key": self.full_key(key)}
            return str(self.client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds))

    def start_upload(self, key: str, *, part_size: int) -> Upload:
        with self._control(key):
            answer = self.client.create_multipart_upload(Bucket=self.bucket, Key=self.full_key(key))
        return Upload(key, answer["UploadId"], part_size)

    def find_upload(self, key: str, *, part_size: int) -> Upload | None:
        full = self.full_key(key)
        with self._control(key):
            answer = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=full)
        found = [one for one in answer.get("Uploads", []) if one["Key"] == full]
        for one in sorted(found, key=lambda one: one["Initiated"], reverse=True):
            upload = Upload(key, one["UploadId"], part_size)
            sizes = [part.size for part in self.list_parts(upload)]
            if not sizes or max(sizes) == part_size:
                return upload
        return None

    def put_part(self, upload: Upload, number: int, data: Bytes) -> Part:
        query = f"partNumber={number}&uploadId={quote(upload.id, safe='')}"
        md5 = self.checksum(data)
        headers = self._put(upload.key, data, {"Content-MD5": _b64(md5)}, query)
        return Part(number, len(data), md5, headers.get("etag", ""))

    def list_parts(self, upload: Upload) -> tuple[Part, ...]:
        where = {"Bucket": self.bucket, "Key": self.full_key(upload.key), "UploadId": upload.id}
        parts: tuple[Part, ...] = ()
        with self._control(upload.key):
            for page in self.client.get_paginator("list_parts").paginate(**where):
                parts += tuple(
                    Part(one["PartNumber"], one["Size"], _md5(one["ETag"]), one["ETag"])
                    for one in page.get("Parts", [])
                )
        return parts

    def finish_upload(self, upload: Upload, parts: Sequence[Part], *, create_only: bool = False) -> ObjectInfo:
        condition = {"IfNoneMatch": "*"} if create_only else {}
        listed = [{"PartNumber": part.number, "ETag": part.token} for part in parts]
        with self._control(upload.key):
            answer = self.client.complete_multipart_upload(
                Bucket=self.bucket,
                Key=self.full_key(upload.key),
                UploadId=upload.id,
                MultipartUpload={"Parts": listed},
                **condition,
            )
        return _info(upload.key, sum(part.size for part in parts), answer["ETag"])

    def abort_upload(self, upload: Upload) -> None:
        with self._control(upload.key):
            try:
                self.client.abort_multipart_upload(
                    Bucket=self.bucket, Key=self.full_key(upload.key), UploadId=upload.id
                )
            except ClientError as error:
                _unless_gone(error)

    def sweep(self, *, before: float) -> int:
        """Uploads, too, are as old as the last of their parts."""
        swept = super().sweep(before=before)
        where = {"Bucket": self.bucket, "Prefix": self._full_prefix("")}
        with self._control(self.uri):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(**where)
            old = [one for page in pages for one in page.get("Uploads", []) if one["Initiated"].timestamp() < before]
            for one in old:
                upload = {"Bucket": self.bucket, "Key": one["Key"], "UploadId": one["UploadId"]}
                pages = self.client.get_paginator("list_parts").paginate(**upload)
                try:
                    parts = [part for page in pages for part in page.get("Parts", [])]
                    if all(part["LastModified"].timestamp() < before for part in parts):
                        self.client.abort_multipart_upload(**upload)
                        swept += 1
                except ClientError as error:
                    _unless_gone(error)
        return swept

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
        target = self._path + quote(self.full_key(key), safe="/~") + (f"?{query}" if query else "")
        with self._control(key), self._lock:  # refreshing credentials is not safe from several threads
            credentials = self._session.get_credentials()
            if credentials is None:
                raise NoCredentialsError
            keys = credentials.get_frozen_credentials()
        sent = signed(
            method, self._wire.authority, target, headers or {}, keys=keys, region=self.region, now=datetime.now(UTC)
        )
        return self._wire.send(method, target, sent, body)

    @contextmanager
    def _control(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
            told = error.response.get("Error", {})
            if told.get("Code") in {"NoSuchBucket", "NoSuchUpload"}:
                raise ObjectNotFound(f"{what}: {told.get('Message')}") from error
            raise store_error(what, status, told.get("Code", ""), told.get("Message", "")) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            hint = "Set AWS_PROFILE or AWS_ACCESS_KEY_ID, or run where a role is attached."
            raise AccessDenied(f"{what}: no AWS credentials were found.", hint=hint) from error
        except BotoCoreError as error:
            raise TransientStoreError(f"{what}: {error}") from error
        except RecursionError as error:  # botocore asks where the bucket is, of the endpoint that has just not told
            raise StoreError(f"{what}: the endpoint answers with redirections only.") from error


def _unless_gone(error: ClientError) -> None:
    """Raises the error again unless it says that the upload, which was to be removed, is not there."""
    if error.response["Error"].get("Code") != "NoSuchUpload":
        raise error


def _info(key: str, size: int, etag: str) -> ObjectInfo:
    return ObjectInfo(key, size, etag, _md5(etag))


def _md5(etag: str) -> bytes | None:
    """The MD5 that an ETag is for plain objects and parts; not for objects of several parts or encrypted by KMS."""
    try:
        raw = binascii.unhexlify(etag.strip('"'))
    except ValueError:
        return None
    return raw if len(raw) == 16 else None


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()

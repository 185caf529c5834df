"""From a store's answer to our error: one table for all providers."""

from __future__ import annotations

import json
import re
from typing import Any

from cloud_adapters.errors import (
    AccessDenied,
    CorruptObject,
    CredentialsExpired,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
    StoreFull,
    Throttled,
    TransientStoreError,
)

# What the answer says in words goes before its status: S3 reports an expired token as 400, Azure a bad digest too.
_BY_CODE: dict[str, type[StoreError]] = {
    "AccountBeingCreated": TransientStoreError,
    "AuthenticationFailed": AccessDenied,
    "BadDigest": CorruptObject,
    "BlobAlreadyExists": PreconditionFailed,
    "Crc64Mismatch": CorruptObject,
    "ConditionalRequestConflict": TransientStoreError,
    "ExpiredToken": CredentialsExpired,
    "ExpiredTokenException": CredentialsExpired,
    "InvalidDigest": CorruptObject,
    "Md5Mismatch": CorruptObject,
    "InternalError": TransientStoreError,
    "InvalidAccessKeyId": AccessDenied,
    "OperationAborted": TransientStoreError,
    "OperationTimedOut": TransientStoreError,
    "PendingCopyOperation": TransientStoreError,
    "QuotaExceeded": StoreFull,
    "RequestTimeout": TransientStoreError,
    "ServerBusy": Throttled,
    "SlowDown": Throttled,
    "TokenRefreshRequired": CredentialsExpired,
    "XMinioStorageFull": StoreFull,
}
_BY_STATUS: dict[int, type[StoreError]] = {
    304: PreconditionFailed,
    401: CredentialsExpired,
    403: AccessDenied,
    404: ObjectNotFound,
    408: TransientStoreError,
    412: PreconditionFailed,
    413: StoreFull,
    416: PreconditionFailed,
    429: Throttled,
    500: TransientStoreError,
    502: TransientStoreError,
    503: Throttled,
    504: TransientStoreError,
    507: StoreFull,
}
_BAD_CHECKSUM = re.compile(r"(md5|crc32c).*match", re.IGNORECASE | re.DOTALL)
_XML_CODE = re.compile(rb"<Code>([^<]{1,100})</Code>")
_XML_MESSAGE = re.compile(rb"<Message>([^<]{1,500})")


def store_error(
    what: str, status: int, code: str = "", message: str = "", retry_after: str | None = None
) -> StoreError:
    """The error for an answer; `what` names the object."""
    if status == 400 and _BAD_CHECKSUM.search(message):  # GCS has no code for this, and Azure's is not always the same
        code = "BadDigest"
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, TransientStoreError if status >= 500 else StoreError)
    told = " ".join(part for part in (str(status), code, message.strip()) if part)
    details: dict[str, Any] = {"retry_after": float(retry_after)} if retry_after and retry_after.isdigit() else {}
    return kind(f"{what}: the store answered {told}.", **details)


def error_from_body(what: str, status: int, headers: dict[str, str], body: bytes) -> StoreError:
    """The error for a raw answer, in XML (S3, Azure) or JSON (GCS)."""
    code, message = headers.get("x-ms-error-code", ""), ""
    if found := _XML_CODE.search(body):
        code = found[1].decode(errors="replace")
    if found := _XML_MESSAGE.search(body):
        message = found[1].decode(errors="replace")
    if body.startswith(b"{"):
        try:
            message = str(json.loads(body)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            message = body[:200].decode(errors="replace")
    return store_error(what, status, code, message, headers.get("retry-after"))

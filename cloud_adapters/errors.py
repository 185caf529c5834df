"""The errors of every object store, whatever its provider. Each keeps the provider's own error as its `__cause__`.

What can be tried again is decided here, once: `retryable` is true for throttling and for faults that pass by
themselves, and false for everything that the next attempt would only repeat.
"""

from __future__ import annotations

from orchestrator.domain.errors import CorruptArtifact, NeutrinoError, NotFound, PermissionDenied


class StoreError(NeutrinoError):
    """An object store failed in a way that trying again does not mend."""

    code = "store_error"
    status = 502


class ObjectNotFound(StoreError, NotFound):
    """No object, bucket, container or folder of that name."""

    code = "object_not_found"
    status = 404
    exit_code = 3


class AccessDenied(StoreError, PermissionDenied):
    """The store refused the credentials, or they do not allow this."""

    code = "store_access_denied"
    status = 403
    exit_code = 4


class CredentialsExpired(AccessDenied):
    """The credentials were good once. Providers renew them, so one more attempt is worth making."""

    code = "store_credentials_expired"
    retryable = True


class PreconditionFailed(StoreError):
    """The object exists already (create-only), or has changed since it was looked at."""

    code = "store_precondition"
    status = 412
    exit_code = 5


class StoreFull(StoreError):
    """The destination has no room left."""

    code = "store_full"
    status = 507
    exit_code = 6


class Throttled(StoreError):
    """Too many requests. `details["retry_after"]` holds the store's advice in seconds, when it gave one."""

    code = "store_throttled"
    status = 503
    exit_code = 7
    retryable = True


class TransientStoreError(StoreError):
    """A timeout, a broken connection, a truncated body or a 5xx: the same request may well succeed next time."""

    code = "store_transient"
    status = 503
    exit_code = 7
    retryable = True


class CopyAbandoned(StoreError):
    """The provider did not copy an object on its own machines in time; the copy was given up. Its bytes can be sent."""

    code = "store_copy_abandoned"
    status = 504
    exit_code = 7


class CorruptObject(StoreError, CorruptArtifact):
    """Bytes did not have the checksum they were sent or stored with."""

    code = "store_corrupt"
    status = 502


class InvalidStore(StoreError):
    """The address of a store or an object cannot be understood, or leads somewhere that is not allowed."""

    code = "invalid_store"
    status = 422
    exit_code = 5


class MissingProvider(InvalidStore):
    """The provider's SDK is not installed, or could not be imported."""

    code = "missing_provider"

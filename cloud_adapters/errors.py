"""What can go wrong with an object store, whoever's it is. The provider's own error is always chained as the cause."""

from __future__ import annotations

from orchestrator.domain.errors import NeutrinoError


class StoreError(NeutrinoError):
    """Base of all errors of object stores."""

    code = "store_error"
    status = 502


class ObjectNotFound(StoreError):
    """There is no object of that name, or no store at that address."""

    code = "object_not_found"
    status = 404
    exit_code = 3


class AccessDenied(StoreError):
    """The credentials do not allow this."""

    code = "store_access_denied"
    status = 403
    exit_code = 4


class PreconditionFailed(StoreError):
    """The object exists already, where it was to be created."""

    code = "object_exists"
    status = 409
    exit_code = 5


class TransientStoreError(StoreError):
    """The store did not answer, or asked to come back later: trying again can help."""

    code = "store_unavailable"
    status = 503
    exit_code = 7
    retryable = True


class StoreFull(StoreError):
    """The store has no room left."""

    code = "store_full"
    status = 507
    exit_code = 6


class InvalidStore(StoreError):
    """The address is not one of a store, or its provider is not installed."""

    code = "invalid_store"
    status = 422
    exit_code = 5

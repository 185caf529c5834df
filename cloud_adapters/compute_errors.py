"""The errors of every place that runs work. Each keeps the place's own error as its `__cause__`."""

from __future__ import annotations

from orchestrator.domain.errors import NeutrinoError, NotFound, PermissionDenied


class ComputeError(NeutrinoError):
    """A place that runs work failed in a way that trying again does not mend."""

    code = "compute_error"
    status = 502


class ComputeUnavailable(ComputeError):
    """It does not answer, or answers that it cannot now: the same request may well succeed next time."""

    code = "compute_unavailable"
    status = 503
    exit_code = 7
    retryable = True


class ComputeDenied(ComputeError, PermissionDenied):
    """The credentials are not good, or do not allow this."""

    code = "compute_denied"
    status = 403
    exit_code = 4


class WorkRefused(ComputeError):
    """What was to be launched is not acceptable there: the reason is in the message, in the place's own words."""

    code = "work_refused"
    status = 422
    exit_code = 5


class OverQuota(ComputeError):
    """The place has no quota left for it: another one may have."""

    code = "over_quota"
    status = 429
    exit_code = 6


class WorkExists(ComputeError):
    """The name is taken by something else."""

    code = "work_exists"
    status = 409
    exit_code = 5


class WorkNotFound(ComputeError, NotFound):
    """There is no such thing there."""

    code = "work_not_found"
    status = 404
    exit_code = 3


class Outdated(ComputeError):
    """What was asked for is too old to be told (HTTP 410): look at everything again."""

    code = "outdated"
    status = 410
    retryable = True


class BadReference(ComputeError):
    """A cluster cannot be found or opened with what is known of it."""

    code = "bad_cluster_reference"
    status = 422
    exit_code = 5

"""One tree of errors, shared by every layer.

The API writes them as RFC 9457 problem documents; the SDK reads those back into the same classes; the CLI turns them
into exit codes. Each error says what happened (`message`), what to do next (`hint`), and whether trying again can help
(`retryable`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


def _sentence(text: str) -> str:
    """The text with a full stop, so that another sentence can follow."""
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."


class NeutrinoError(Exception):
    """Base of every error that Neutrino raises on purpose.

    `code` is stable and meant for programs, `message` and `hint` are meant for people, `request_id` finds the request
    in the API's log, `status` is the HTTP status that carries the error, `exit_code` the CLI's.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None, request_id: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.request_id = request_id
        self.details = details

    def __str__(self) -> str:
        return f"{_sentence(self.message)} {self.hint}" if self.hint else self.message

    def to_problem(self) -> dict[str, Any]:
        """The RFC 9457 document for this error; `details` become extension members."""
        problem: dict[str, Any] = {
            "type": f"urn:neutrino:error:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.status,
            "detail": self.message,
            "code": self.code,
            "retryable": self.retryable,
        }
        if self.hint:
            problem["hint"] = self.hint
        if self.request_id:
            problem["request_id"] = self.request_id
        return problem | self.details


class AuthenticationError(NeutrinoError):
    """No token, or one that is unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401
    exit_code = 4


class PermissionDenied(NeutrinoError):
    """The token is good, but its role does not allow this."""

    code = "permission_denied"
    status = 403
    exit_code = 4


class NotFound(NeutrinoError):
    """Nothing of that name is visible in this workspace. `suggestions` holds the nearest names."""

    code = "not_found"
    status = 404
    exit_code = 3

    @property
    def suggestions(self) -> list[str]:
        """Existing names close to the one asked for, best first."""
        return list(self.details.get("suggestions", []))


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a document: where it is (`spec.resources.gpu`), what is wrong, and how to mend it."""

    path: str
    message: str
    hint: str | None = None
    line: int | None = None
    column: int | None = None

    def __post_init__(self) -> None:
        for name in ("path", "message", "hint"):  # they quote what was sent, which may be no text at all
            if (text := getattr(self, name)) is not None and not text.isascii():
                object.__setattr__(self, name, text.encode("utf-8", "replace").decode())

    def __str__(self) -> str:
        where = self.path or "document"
        at = f" (line {self.line}, column {self.column})" if self.line is not None else ""
        fault = f"{_sentence(self.message)} {self.hint}" if self.hint else self.message
        return f"{where}{at}: {fault}"

    def as_dict(self) -> dict[str, Any]:
        """The field error as plain data, without what is unknown."""
        fields = ("path", "message", "hint", "line", "column")
        return {name: value for name in fields if (value := getattr(self, name)) is not None}


class InvalidSpec(NeutrinoError):
    """The document cannot be accepted. `errors` lists every fault found, not only the first."""

    code = "invalid_spec"
    status = 422
    exit_code = 5

    def __init__(
        self,
        message: str,
        *,
        errors: Sequence[FieldError] = (),
        hint: str | None = None,
        request_id: str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, hint=hint, request_id=request_id, **details)
        self.errors = list(errors)

    @classmethod
    def of(cls, errors: Sequence[FieldError]) -> InvalidSpec:
        """The error for a list of faults; its message quotes the first ones."""
        shown = "; ".join(str(error) for error in errors[:3])
        more = f" (and {len(errors) - 3} more)" if len(errors) > 3 else ""
        return cls(f"{shown}{more}", errors=errors)

    def to_problem(self) -> dict[str, Any]:
        return super().to_problem() | {"errors": [error.as_dict() for error in self.errors]}


class Conflict(NeutrinoError):
    """The request does not fit the present state, such as cancelling a job that has finished."""

    code = "conflict"
    status = 409
    exit_code = 5


class LeaseLost(Conflict):
    """The attempt is no longer the job's current one, or its lease has expired: stop, nothing more will be accepted."""

    code = "lease_lost"


class TooLarge(NeutrinoError):
    """The request body is larger than the API takes."""

    code = "too_large"
    status = 413
    exit_code = 5


class UnsupportedMedia(NeutrinoError):
    """The body is of a kind that this route does not read."""

    code = "unsupported_media"
    status = 415
    exit_code = 5


class QuotaExceeded(NeutrinoError):
    """The workspace may not use that much."""

    code = "quota_exceeded"
    status = 403
    exit_code = 6


class CapacityError(NeutrinoError):
    """No place could be found. `attempts` lists each place tried with its reason."""

    code = "no_capacity"
    status = 503
    exit_code = 6
    retryable = True

    @property
    def attempts(self) -> list[Any]:
        """The places tried, each with its reason."""
        return list(self.details.get("attempts", []))


class NoPlace(CapacityError):
    """No pool can take the job, and waiting does not change that. `attempts` lists each pool with its reason."""

    code = "no_place"
    status = 409
    retryable = False


class RateLimited(NeutrinoError):
    """Too many requests. `retry_after` tells when to come back, in seconds."""

    code = "rate_limited"
    status = 429
    exit_code = 7
    retryable = True

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before the next request, if the server said so."""
        value = self.details.get("retry_after")
        return None if value is None else float(value)


class ServerUnavailable(NeutrinoError):
    """The API, its database, or the way to it is down. Whatever was accepted earlier is safe."""

    code = "unavailable"
    status = 503
    exit_code = 7
    retryable = True


class ServerError(NeutrinoError):
    """The API failed in a way it did not foresee; its log has the request id."""

    code = "internal"
    status = 500
    retryable = True


class JobFailed(NeutrinoError):
    """A job that was waited for did not succeed."""

    code = "job_failed"
    status = 409
    exit_code = 8

    @property
    def reason(self) -> str | None:
        """The machine-readable reason, such as `oom`."""
        return self.details.get("reason")

    @property
    def job_exit_code(self) -> int | None:
        """The exit code of the user's process, if it got that far."""
        return self.details.get("exit_code")

    @property
    def log_tail(self) -> list[str]:
        """The last lines that the job wrote."""
        return list(self.details.get("log_tail", []))


class JobCancelled(JobFailed):
    """A job that was waited for has been cancelled."""

    code = "job_cancelled"
    exit_code = 9


class WaitTimeout(NeutrinoError):
    """The wait ended before the job did. The job goes on."""

    code = "wait_timeout"
    status = 408
    exit_code = 124


class CorruptArtifact(NeutrinoError):
    """Bytes do not match the manifest: they are not used, and nothing was published from them."""

    code = "corrupt_artifact"
    status = 502


def _leaves(cls: type[NeutrinoError]) -> Iterable[type[NeutrinoError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _leaves(child)


def from_problem(problem: Mapping[str, Any], *, status: int) -> NeutrinoError:
    """The error that an RFC 9457 document describes; an unknown code falls back to the class for its status."""
    known = {"type", "title", "status", "detail", "code", "retryable", "hint", "request_id", "errors"}
    details = {key: value for key, value in problem.items() if key not in known}
    by_code = {cls.code: cls for cls in _leaves(NeutrinoError)}
    by_status = {
        401: AuthenticationError,
        403: PermissionDenied,
        404: NotFound,
        409: Conflict,
        422: InvalidSpec,
    }
    fallback = ServerUnavailable if status in {502, 503, 504} else ServerError
    cls = by_code.get(str(problem.get("code")), by_status.get(status, fallback))
    message = str(problem.get("detail") or problem.get("title") or f"The API answered {status}.")
    common = {"hint": problem.get("hint"), "request_id": problem.get("request_id")}
    if issubclass(cls, InvalidSpec):
        # A newer API may say more about a fault than this version knows.
        fields = FieldError.__dataclass_fields__
        errors = [FieldError(**{k: v for k, v in one.items() if k in fields}) for one in problem.get("errors", [])]
        return cls(message, errors=errors, **common, **details)
    return cls(message, **common, **details)


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that a mistyped `name` probably meant, or None when nothing is close."""
    matches = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return matches[0] if matches else None

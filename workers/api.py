"""The worker's side of the API's worker routes: one typed method per route, blocking, one kept connection per thread.

`http.client` and not httpx: this is the hot path of every job, and a call costs a quarter of the time (ADR 0005).
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from orchestrator.domain.errors import (
    AuthenticationError,
    NeutrinoError,
    PermissionDenied,
    ServerError,
    ServerUnavailable,
    from_problem,
)
from orchestrator.domain.model import Model
from orchestrator.domain.pods import Checked
from orchestrator.domain.protocol import (
    AppendBatch,
    Appended,
    CheckpointCommitted,
    Heartbeat,
    HeartbeatReply,
    NodeBeat,
    NodeReply,
    PodLease,
    PublishCheckpoint,
    RegisterWorker,
    ReportBatch,
    Reported,
    Resumed,
    StagedInputs,
    WorkerRegistered,
)

Answer = TypeVar("Answer", bound=Model)

# How an idle connection that the server has closed shows itself when it is used again.
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class Api:
    """Calls the API. Every method raises the NeutrinoError that the API answers with, and ServerUnavailable when it
    cannot be reached; nothing is tried again here but a call on a connection that had gone stale."""

    def __init__(self, url: str, token: str, timeout: float = 15.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise NeutrinoError(
                f"{url!r} is not the address of an API.", hint="It looks like https://neutrino.example.com."
            )
        self._parts = parts
        self._token = token
        self._timeout = timeout
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._local = threading.local()

    def knows_me(self) -> bool:
        """Whether the API accepts this token."""
        try:
            self._send("GET", "/v1/whoami", None, self._token)
        except AuthenticationError:
            return False
        except PermissionDenied:  # it is a worker's, which may not ask; but it is known
            pass
        return True

    def register(self, body: RegisterWorker) -> WorkerRegistered:
        """Introduce this worker."""
        return self._post("register", body, WorkerRegistered)

    def heartbeat(self, body: Heartbeat) -> HeartbeatReply:
        """Renew all leases."""
        return self._post("heartbeat", body, HeartbeatReply)

    def append(self, body: AppendBatch) -> Appended:
        """Hand over log lines, metrics and progress."""
        return self._post("append", body, Appended)

    def checkpoint(self, body: PublishCheckpoint) -> CheckpointCommitted:
        """Make an uploaded checkpoint the newest one. Raises LeaseLost."""
        return self._post("checkpoint", body, CheckpointCommitted)

    def resumed(self, body: Resumed) -> None:
        """Tell from which checkpoint an attempt goes on, when it is not the one that its lease named first. Raises
        LeaseLost."""
        self._send("POST", "/v1/worker/resumed", _body(body), self._token)

    def staged(self, body: StagedInputs) -> None:
        """Tell from where an attempt has its inputs. Raises LeaseLost."""
        self._send("POST", "/v1/worker/staged", _body(body), self._token)

    def report(self, body: ReportBatch) -> Reported:
        """Tell how attempts ended, and claim new ones."""
        return self._post("report", body, Reported)

    def attach(self, node: int, pod: str) -> PodLease:
        """Take over a node of the attempt whose token this is, for the pod of this uid. Raises LeaseLost."""
        data = self._send("POST", f"/v1/worker/attach?node={node}&pod={pod}", b"{}", self._token)
        return _read(data, PodLease)

    def node(self, body: NodeBeat) -> NodeReply:
        """A node of the attempt whose token this is lives."""
        return self._post("node", body, NodeReply)

    def checked(self, body: Checked) -> None:
        """Tell what was found on a cluster."""
        self._send("POST", "/v1/worker/checked", _body(body), self._token)

    def file(self, sha256: str, token: str) -> bytes:
        """A file that a user uploaded for a job, read with the attempt's own token."""
        return self._send("GET", f"/v1/files/{sha256}", None, token)

    def _post(self, route: str, body: Model, answer: type[Answer]) -> Answer:
        data = self._send("POST", f"/v1/worker/{route}", _body(body), self._token)
        return _read(data, answer)

    def _send(self, method: str, path: str, body: bytes | None, token: str) -> bytes:
        headers = {"Authorization": f"Bearer {token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            status, data = self._exchange(method, self._parts.path.rstrip("/") + path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self._forget()
            text = f"The API at {self._parts.netloc} cannot be reached: {error or type(error).__name__}."
            raise ServerUnavailable(text) from error
        if status >= 300:
            raise _error(status, data)
        return data

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        kept = self._connection()
        reused = kept.sock is not None
        try:
            kept.request(method, path, body, headers)
            response = kept.getresponse()
        except _STALE:
            kept.close()
            if not reused:
                raise
            kept.request(method, path, body, headers)
            response = kept.getresponse()
        return response.status, response.read()

    def _connection(self) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._local, "kept", None)
        if kept is None:
            host = self._parts.hostname or ""
            if self._tls is None:
                kept = http.client.HTTPConnection(host, self._parts.port, timeout=self._timeout)
            else:
                kept = http.client.HTTPSConnection(host, self._parts.port, timeout=self._timeout, context=self._tls)
            self._local.kept = kept
        return kept

    def _forget(self) -> None:
        kept: http.client.HTTPConnection | None = getattr(self._local, "kept", None)
        if kept is not None:
            kept.close()


def _body(said: Model) -> bytes:
    """What is said without what goes without saying: an API of the release before, which serves while it is replaced,
    refuses fields that it does not know."""
    return said.model_dump_json(exclude_defaults=True).encode()


def _read(data: bytes, answer: type[Answer]) -> Answer:
    """The typed answer; what a newer API adds is passed over. Raises ServerError when it is no answer of ours: what
    stands between us and the API has answered in its place, and may not do so again."""
    try:
        return answer.model_validate_json(data, extra="ignore")
    except ValidationError as error:
        hint = "Look at what stands before the API: a proxy, a page for signing in, an older release."
        raise ServerError("The API answered something that is not Neutrino's.", hint=hint) from error


def _error(status: int, data: bytes) -> NeutrinoError:
    try:
        problem = json.loads(data)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        kind = ServerUnavailable if status in {502, 503, 504} else ServerError
        return kind(f"The API answered {status} without an explanation.")
    return from_problem(problem, status=status)

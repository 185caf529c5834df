"""A small control plane: a real HTTP server that answers the worker routes the way the contract says, from memory.

It lets a test decide what the real one decides by itself: when a lease is lost, when an answer never arrives.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from orchestrator.domain.errors import AuthenticationError, LeaseLost, NeutrinoError, NotFound, ServerUnavailable
from orchestrator.domain.ids import encode
from orchestrator.domain.protocol import (
    AppendBatch,
    Appended,
    CheckpointCommitted,
    CheckpointRef,
    Heartbeat,
    HeartbeatReply,
    Lease,
    LogLine,
    MetricPoint,
    PublishCheckpoint,
    RegisterWorker,
    Report,
    ReportBatch,
    Reported,
    Resumed,
    WorkerRegistered,
)
from orchestrator.domain.spec import JobSpec
from orchestrator.domain.transfer import Order

TOKEN = "worker-token-for-tests"


@dataclass
class Held:
    """An attempt that a worker holds, and what it has handed in."""

    lease: Lease
    lines: list[LogLine] = field(default_factory=list)
    metrics: list[MetricPoint] = field(default_factory=list)
    progress: float | None = None
    last_seq: int = 0
    cancel: bool = False
    asked: str | None = None
    lost: bool = False
    beats: int = 0
    report: Report | None = None
    checkpoints: list[PublishCheckpoint] = field(default_factory=list)
    resumed: Resumed | None = None

    def text(self, stream: str = "stdout") -> list[str]:
        return [line.text for line in self.lines if line.stream == stream]


class ControlPlane:
    """State behind one lock; `changed` is notified whenever it changes."""

    def __init__(self, store: str, *, lease_seconds: float = 30.0) -> None:
        self.store = store
        self.lease_seconds = lease_seconds
        self.changed = threading.Condition()
        self.queue: list[Lease] = []
        self.attempts: dict[str, Held] = {}
        self.registrations: list[RegisterWorker] = []
        self.files: dict[str, bytes] = {}
        self.heartbeats = 0
        self.drain = False
        self.draining_seen = False
        self.down = False
        self.forgotten = False
        self.swallow: set[str] = set()  # routes whose next effect happens but whose answer never arrives
        self.requests: dict[str, int] = {}
        self._numbers = 10000

    def submit(
        self,
        spec: JobSpec,
        *,
        timeout: float = 600.0,
        resume: CheckpointRef | None = None,
        fallbacks: tuple[CheckpointRef, ...] = (),
        epoch: int = 1,
        order: Order | None = None,
    ) -> str:
        with self.changed:
            self._numbers += 1
            name = f"{encode('j', self._numbers)}.{epoch}"
            prefix = f"jobs/{name}"
            lease = Lease(
                attempt=name,
                token=f"token-of-{name}",
                document=spec.document(),
                timeout_seconds=timeout,
                prefix=prefix,
                resume=resume,
                fallbacks=fallbacks,
                order=order,
            )
            self.queue.append(lease)
            return name

    def wait(self, condition: Callable[[], Any], timeout: float = 120.0) -> Any:
        """Wait until the condition holds; fails the test otherwise."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), "it did not happen in time"
            return condition()

    def report_of(self, attempt: str, timeout: float = 120.0) -> Report:
        report = self.wait(lambda: attempt in self.attempts and self.attempts[attempt].report, timeout)
        assert isinstance(report, Report)
        return report

    def register(self, body: RegisterWorker) -> WorkerRegistered:
        self.registrations.append(body)
        self.forgotten = False
        for held in self.attempts.values():
            held.lost = held.lost or held.report is None
        return WorkerRegistered(
            worker="w-1",
            queues=(f"pool.{body.pool}", "worker.w-1"),
            store=self.store,
            lease_seconds=self.lease_seconds,
            heartbeat_seconds=self.lease_seconds / 6,
        )

    def heartbeat(self, body: Heartbeat) -> HeartbeatReply:
        self._known()
        self.heartbeats += 1
        self.draining_seen = self.draining_seen or body.draining
        live = {name for name, held in self.attempts.items() if not held.lost and held.report is None}
        for name in body.attempts:
            self.attempts[name].beats += 1
        return HeartbeatReply(
            lost=tuple(name for name in body.attempts if name not in live),
            cancel=tuple(name for name in live if self.attempts[name].cancel),
            checkpoint=tuple(name for name in live if self.attempts[name].asked == "checkpoint"),
            move=tuple(name for name in live if self.attempts[name].asked == "move"),
            orphans=tuple(sorted(live - set(body.attempts))),
            waiting=len(self.queue),
            drain=self.drain,
        )

    def append(self, body: AppendBatch) -> Appended:
        lost = []
        for one in body.appends:
            held = self.attempts[one.attempt]
            if held.lost or held.report:
                lost.append(one.attempt)
            elif one.seq > held.last_seq:
                assert one.seq == held.last_seq + 1
                assert one.first_line == len(held.lines) + 1
                held.last_seq = one.seq
                held.lines += one.lines
                held.metrics += one.metrics
                held.progress = held.progress if one.progress is None else one.progress
        return Appended(lost=tuple(lost))

    def checkpoint(self, body: PublishCheckpoint) -> CheckpointCommitted:
        held = self.attempts[body.attempt]
        if held.lost:
            raise LeaseLost("This attempt is over.")
        superseded = tuple(old.artifact.prefix for old in held.checkpoints[-1:])
        held.checkpoints.append(body)
        held.asked = None if held.asked == "checkpoint" else held.asked
        return CheckpointCommitted(artifact="a-1", superseded=superseded)

    def resumed(self, body: Resumed) -> Appended:
        self.attempts[body.attempt].resumed = body
        return Appended()

    def report(self, body: ReportBatch) -> Reported:
        self._known()
        lost = []
        for report in body.reports:
            held = self.attempts[report.attempt]
            if held.lost or held.report:
                lost.append(report.attempt)
            else:
                held.report = report
        leases, self.queue = self.queue[: body.slots], self.queue[body.slots :]
        self.attempts |= {lease.attempt: Held(lease) for lease in leases}
        return Reported(lost=tuple(lost), leases=tuple(leases))

    def _known(self) -> None:
        if self.forgotten:
            raise NotFound("There is no worker w-1.")


_BODIES: dict[str, type[Any]] = {
    "register": RegisterWorker,
    "heartbeat": Heartbeat,
    "append": AppendBatch,
    "checkpoint": PublishCheckpoint,
    "report": ReportBatch,
    "resumed": Resumed,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plane: ControlPlane

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(6, 1, 1)  # TCP_NODELAY

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        route = self.path.removeprefix("/v1/worker/")
        plane = self.plane
        try:
            with plane.changed:
                plane.requests[route] = plane.requests.get(route, 0) + 1
                plane.changed.notify_all()
                if plane.down:
                    raise ServerUnavailable("The test has switched the API off.")
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    raise AuthenticationError("The token is not known.")
                answer = getattr(plane, route)(_BODIES[route].model_validate_json(body))
                if route in plane.swallow:
                    plane.swallow.discard(route)
                    self.close_connection = True
                    return
            self._answer(200, "application/json", answer.model_dump_json().encode())
        except NeutrinoError as error:
            self._answer(error.status, "application/problem+json", json.dumps(error.to_problem()).encode())

    def do_GET(self) -> None:
        with self.plane.changed:
            tokens = {f"Bearer {held.lease.token}" for held in self.plane.attempts.values()}
            assert self.headers["Authorization"] in tokens
            data = self.plane.files.get(self.path.removeprefix("/v1/files/"))
        if data is None:
            self._answer(404, "application/problem+json", json.dumps(NotFound("No such file.").to_problem()).encode())
        else:
            self._answer(200, "application/octet-stream", data)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a worker that was killed in mid-call


@contextmanager
def serving(plane: ControlPlane) -> Iterator[str]:
    """The control plane at an address on loopback."""
    handler = type("Handler", (_Handler,), {"plane": plane})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

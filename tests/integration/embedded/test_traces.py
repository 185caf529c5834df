"""One trace leads through all services: sent to a collector that speaks OTLP, from a stack of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from orchestrator import Client, Command
from orchestrator.embedded.stack import Stack

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"


class Collector(ThreadingHTTPServer):
    """Keeps the spans it is sent, by service."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    about = {each.key: each.value.string_value for each in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        collector.spans += [(about["service.name"], span) for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    def of(self, trace: str) -> dict[str, tuple[str, Span]]:
        """The spans of a trace by name."""
        return {span.name: (service, span) for service, span in list(self.spans) if span.trace_id.hex() == trace}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on a free port."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_job_is_one_trace_from_the_request_to_its_end(
    collector: Collector, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    spec = Command(name="traced", command=["sh", "-c", "echo trace=$TRACEPARENT; echo x > ../output/x"])
    wanted = {
        "POST /v1/jobs",
        "queued",
        "ring",
        "doorbell",
        "dispatched",
        "running",
        "attempt",
        "stage",
        "run",
        "upload",
    }
    with Stack(open_folder) as stack, Client(url=stack.url, token=stack.admin_token) as client:
        headers = {"Authorization": f"Bearer {stack.admin_token}", "traceparent": CALLER}
        answer = httpx.post(f"{stack.url}/v1/jobs", json=spec.document(), headers=headers, trust_env=False)
        job = client.jobs.get(answer.json()["id"]).wait(timeout="120s")
        deadline = time.monotonic() + 120
        while not wanted <= collector.of(TRACE).keys() and time.monotonic() < deadline:
            time.sleep(0.05)
        (line,) = [line.text for line in job.logs() if line.text.startswith("trace=")]
    spans = collector.of(TRACE)
    assert wanted <= spans.keys()
    services = {name: service for name, (service, _) in spans.items()}
    assert services["POST /v1/jobs"] == services["running"] == "neutrino-api"
    assert services["queued"] == services["ring"] == "neutrino-scheduler"
    assert services["doorbell"] == services["attempt"] == services["run"] == "neutrino-worker"
    assert spans["POST /v1/jobs"][1].parent_span_id.hex() == "b7ad6b7169203331"
    root = spans["POST /v1/jobs"][1].span_id
    assert {spans[name][1].parent_span_id for name in ("queued", "dispatched", "running", "ring", "attempt")} == {root}
    assert spans["doorbell"][1].parent_span_id == spans["ring"][1].span_id
    attempt = spans["attempt"][1].span_id
    assert {spans[name][1].parent_span_id for name in ("stage", "run", "upload")} == {attempt}
    assert line == f"trace=00-{TRACE}-{attempt.hex()}-01"
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for _, span in spans.values())

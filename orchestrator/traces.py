"""OpenTelemetry spans, from the request that submits a job to the end of its last attempt.

Tracing is on when OTEL_EXPORTER_OTLP_ENDPOINT is set, and needs the extra `otel`. Without it nothing of OpenTelemetry
is imported, and the context that came with a request still travels with the job to whatever runs it. What travels is
the text of a `traceparent` header (https://www.w3.org/TR/trace-context/): in the job's row, in the headers of the
Celery message, in the lease, and in the environment of the job as TRACEPARENT.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from orchestrator.domain.errors import NeutrinoError
from orchestrator.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind, Tracer

HEADER = "traceparent"
_VALID = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LAST_WORDS_MS = 2000
_tracer: Tracer | None = None
_provider: TracerProvider | None = None

Kind = Literal["internal", "server", "producer", "consumer"]
Value = str | int | float | bool


def configure(service: str) -> None:
    """Switch tracing on for this process if the environment asks for it. Raises NeutrinoError when it cannot be."""
    global _tracer, _provider
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        hint = "pip install 'neutrino-ai[otel]', or unset OTEL_EXPORTER_OTLP_ENDPOINT."
        raise NeutrinoError("Tracing is asked for, but OpenTelemetry is not installed.", hint=hint) from missing
    resource = Resource.create({"service.name": f"neutrino-{service}", "service.version": VERSION})
    provider = TracerProvider(resource=resource)  # it sends what is left when the process ends
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer, _provider = provider.get_tracer("neutrino", VERSION), provider


def flush() -> None:
    """Send what is left, for processes that end without cleaning up."""
    if _provider is not None:
        _provider.force_flush(_LAST_WORDS_MS)


def accepted(header: str | None) -> str | None:
    """The header if it is one that can be handed on, else None."""
    return header if header is not None and _VALID.fullmatch(header) else None


class Traced:
    """A span that is open. `traceparent` is what those who work for it are given."""

    def __init__(self, traceparent: str | None, span: Span | None = None) -> None:
        self.traceparent = traceparent
        self._span = span

    def add(self, name: str | None = None, **attributes: Value) -> None:
        """Say more about it, and name it anew if it is only now known what it is."""
        if self._span is not None:
            self._span.set_attributes(_named(attributes))
            if name is not None:
                self._span.update_name(name)


@contextmanager
def span(name: str, parent: str | None, kind: Kind = "internal", **attributes: Value) -> Iterator[Traced]:
    """A span around the block; an exception marks it as failed and goes on. Without tracing `parent` is handed on."""
    if _tracer is None:
        yield Traced(parent)
        return
    with _tracer.start_as_current_span(
        name, context=_context(parent), kind=_kind(kind), attributes=_named(attributes)
    ) as opened:
        yield Traced(_traceparent(opened), opened)


def record(name: str, parent: str | None, began: datetime, ended: datetime, **attributes: Value) -> None:
    """A span that is already over. Does nothing when there is nothing that it belongs to."""
    if _tracer is not None and parent is not None:
        opened = _tracer.start_span(
            name, context=_context(parent), attributes=_named(attributes), start_time=_nanoseconds(began)
        )
        opened.end(_nanoseconds(ended))


def _named(attributes: dict[str, Value]) -> dict[str, Value]:
    return {f"neutrino.{name}" if "." not in name else name: value for name, value in attributes.items()}


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)


def _kind(kind: Kind) -> SpanKind:
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    return SpanKind[kind.upper()]


def _context(parent: str | None) -> Context:
    """A context with this parent and nothing else: what runs around here belongs to other traces."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    return TraceContextTextMapPropagator().extract({HEADER: parent} if parent else {}, Context())


def _traceparent(opened: Span) -> str:
    context = opened.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

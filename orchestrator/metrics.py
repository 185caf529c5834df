"""What the services count and time for Prometheus. docs/reference/metrics.md lists it for people.

No job, user or workspace is a label: those are without bound, and belong to the database. The gauges that come from the
database are in `orchestrator.store.gauges`.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import REGISTRY, Counter, Histogram, Info, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric

from orchestrator.settings import bind
from orchestrator.version import VERSION

CONTENT_TYPE = CONTENT_TYPE_LATEST

TRANSITIONS = Counter("neutrino_job_transitions", "Moves of jobs that this process has made.", ("target", "reason"))
WAIT = Histogram(
    "neutrino_job_wait_seconds",
    "From a job's submission to the start of its first attempt.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600, 14400, 86400),
)
LIFETIME = Histogram(
    "neutrino_job_lifetime_seconds",
    "From a job's submission to its end.",
    ("state",),
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 86400, 604800),
)
REQUESTS = Histogram(
    "neutrino_http_request_seconds",
    "From a request's arrival to the end of its answer; a stream counts until it is closed.",
    ("method", "route", "status"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
Info("neutrino_build", "The release that this process runs.").info({"version": VERSION})


class _Given:
    """A collector for figures that were read beforehand."""

    def __init__(self, figures: Iterable[Metric]) -> None:
        self._figures = list(figures)

    def collect(self) -> Iterable[Metric]:
        yield from REGISTRY.collect()
        yield from self._figures


def serve() -> None:
    """Answer Prometheus on NEUTRINO_METRICS_BIND (`127.0.0.1:9470`), when that is set, from a thread: for the services
    that serve nothing else. There is no token here; the network has to see to it who gets through."""
    if where := bind("NEUTRINO_METRICS_BIND"):
        host, port = where
        start_http_server(port, host or "0.0.0.0")  # noqa: S104 - `:9470` says so


def exposition(figures: Iterable[Metric] = ()) -> bytes:
    """This process's metrics, and `figures`, in Prometheus' text format."""
    return generate_latest(_Given(figures))

"""Figures of the whole installation for Prometheus, read from indexes over what is alive."""

from __future__ import annotations

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import Connection, text

from orchestrator.domain.state import TERMINAL, JobState
from orchestrator.store import components, pools, queue

# The partial indexes of the queue, of the windows and of the leases hold only what is alive.
_ALIVE = """
    SELECT 'QUEUED' AS state, count(*) AS jobs FROM jobs WHERE state = 'QUEUED'
    UNION ALL SELECT 'DISPATCHED', count(*) FROM jobs WHERE state = 'DISPATCHED'
    UNION ALL
    SELECT j.state, count(*) FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE a.state = 'RUNNING' GROUP BY j.state
"""
_OLDEST = """
    SELECT extract(epoch FROM clock_timestamp() - created_at) FROM jobs
    WHERE state = 'QUEUED' AND shape = :shape AND (not_before IS NULL OR not_before <= clock_timestamp())
    ORDER BY id LIMIT 1
"""


def read(connection: Connection) -> list[Metric]:
    """The figures as they are now."""
    jobs = GaugeMetricFamily("neutrino_jobs", "Jobs that have not ended, by state.", labels=["state"])
    counted = {row.state: row.jobs for row in connection.execute(text(_ALIVE))}
    for state in JobState:
        if state not in TERMINAL:
            jobs.add_metric([state], counted.get(state.value, 0))
    oldest = GaugeMetricFamily(
        "neutrino_queue_oldest_seconds",
        "Age of the oldest queued job that is not held back.",
        value=_oldest(connection),
    )
    return [jobs, oldest, *_pools(connection), _components(connection)]


def _oldest(connection: Connection) -> float:
    """Asked per shape, because that is how the index of the queue is sorted."""
    keys = [shape.key() for shape in queue.shapes(connection)]
    ages = [connection.execute(text(_OLDEST), {"shape": key}).scalar() for key in keys]
    return max((float(age) for age in ages if age is not None), default=0.0)


def _pools(connection: Connection) -> list[Metric]:
    workers = GaugeMetricFamily("neutrino_pool_workers", "Workers that are online.", labels=["pool"])
    slots = GaugeMetricFamily("neutrino_pool_slots", "Slots of workers that take jobs.", labels=["pool"])
    jobs = GaugeMetricFamily("neutrino_pool_jobs", "Jobs in a pool.", labels=["pool", "state"])
    for pool in pools.states(connection):
        workers.add_metric([pool.name], pool.workers)
        slots.add_metric([pool.name], pool.slots)
        jobs.add_metric([pool.name, JobState.RUNNING], pool.running)
        jobs.add_metric([pool.name, JobState.DISPATCHED], pool.dispatched)
    return [workers, slots, jobs]


def _components(connection: Connection) -> Metric:
    found = GaugeMetricFamily(
        "neutrino_components",
        "Parts of the control plane: healthy ones, and ones that are silent or say that something is wrong.",
        labels=["kind", "healthy"],
    )
    counts: dict[tuple[str, str], int] = {}
    for component in components.views(connection):
        if component.state != "gone":
            key = (component.kind, str(component.state == "well").lower())
            counts[key] = counts.get(key, 0) + 1
    for (kind, healthy), count in sorted(counts.items()):
        found.add_metric([kind, healthy], count)
    return found

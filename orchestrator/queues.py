"""The names of the Celery queues, for those who name them without using Celery."""

from __future__ import annotations


def queue_for_pool(pool: str) -> str:
    """The queue on which all workers of a pool listen."""
    return f"pool.{pool}"


def queue_for_worker(worker: str) -> str:
    """The queue on which only this worker (`w-10001`) listens."""
    return f"worker.{worker}"

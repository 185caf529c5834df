"""The doorbell: Celery over Redis. It tells workers to look; what there is to see stands in Postgres.

A bell may be lost, doubled or late without harm, so results, acknowledgements and retries of Celery's are all off. One
queue per pool ("there is work: claim now") and one per worker ("send a heartbeat now: something is to be stopped").
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from celery import Celery
from kombu.entity import Exchange, Queue

from orchestrator import traces
from orchestrator.domain.errors import NeutrinoError
from orchestrator.queues import queue_for_pool, queue_for_worker

DOORBELL = "neutrino.doorbell"
_CONNECT_SECONDS = 3.0
_BELL_LIVES_SECONDS = 60  # a bell that nobody heard for so long says nothing any more; the reconciler rings again


def queue(name: str) -> Queue:
    """A queue on the default exchange: messages are routed by name alone, so that a FLUSHALL takes no binding away."""
    return Queue(name, exchange=Exchange(""), routing_key=name, durable=True)


def celery_app(url: str | None = None) -> Celery:
    """The Celery app of this process. `url` defaults to REDIS_URL. Raises NeutrinoError when neither is given."""
    broker = url or os.environ.get("REDIS_URL")
    if not broker:
        raise NeutrinoError("REDIS_URL is not set.", hint="Set it to redis://:password@host:6379/0.")
    app = Celery("neutrino", broker=broker, backend=None, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_connect_timeout": _CONNECT_SECONDS,
            "socket_timeout": 30.0,
            "retry_on_timeout": False,
            "max_retries": 1,
            "global_keyprefix": "neutrino:",
        },
    )
    return app


class Doorbell:
    """Rings. Raises whatever kombu raises when Redis is away: the caller decides, and nothing is lost."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connection = app.connection_for_write(connect_timeout=_CONNECT_SECONDS)
        self._producer = app.amqp.Producer(self._connection.channel(), auto_declare=False)

    def ring_pool(self, pool: str, job_ids: Sequence[str], times: int = 1, traceparent: str | None = None) -> None:
        """Tell up to `times` workers of a pool that these jobs wait; the ids are only for whoever reads the queue, and
        `traceparent`, the trace of one of them, for whoever traces."""
        for _ in range(times):
            with traces.span("ring", traceparent, "producer", pool=pool) as traced:
                self._ring(queue_for_pool(pool), job_ids, traced.traceparent)

    def ring_worker(self, worker: str) -> None:
        """Tell one worker to send its heartbeat now."""
        self._ring(queue_for_worker(worker), ())

    def check(self) -> None:
        """Ask Redis whether it is there."""
        self._producer.channel.client.ping()

    def _ring(self, name: str, job_ids: Sequence[str], traceparent: str | None = None) -> None:
        self._app.send_task(
            DOORBELL,
            args=[list(job_ids)],
            headers={traces.HEADER: traceparent} if traceparent else None,
            producer=self._producer,
            queue=queue(name),
            expires=_BELL_LIVES_SECONDS,
            retry=False,
            ignore_result=True,
        )

    def close(self) -> None:
        """Give the connection back."""
        self._connection.release()

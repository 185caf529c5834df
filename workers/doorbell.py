"""The ear: a Celery worker in a thread, whose only task pokes the agent.

A bell on the pool's queue means "there is work: claim now", one on the worker's own queue "send a heartbeat now". While
all slots are taken the worker turns away from the pool's queue, so that workers with free slots get those bells.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps
from celery.worker import WorkController
from kombu.asynchronous import set_event_loop

from orchestrator import traces
from orchestrator.broker import DOORBELL, queue

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_HEALTHY = 30.0  # seconds after which a new fault counts as the first again
_WAKE = b"!"
_CHECK_SECONDS = 5.0
_CONNECT_SECONDS = 3.0
_OWN = "listening?"  # what a bell says that this worker sends to itself


class Listener(threading.Thread):
    """Listens until the process ends. Celery's worker is started again whenever it fails: it was seen to exit with an
    AttributeError after Redis had restarted. It was also seen to stay without listening, when Redis went between a
    message and its acknowledgement; so it rings itself now and then, and reconnects when it does not hear that. Bells
    are only hints: nothing is lost meanwhile.

    `on_work` and `on_beat` are called in this thread.
    """

    def __init__(
        self,
        app: Celery,
        *,
        worker: str,
        pool_queue: str,
        own_queue: str,
        on_work: Callable[[], None],
        on_beat: Callable[[], None],
    ) -> None:
        super().__init__(name="doorbell", daemon=True)
        self._app = app
        self._worker = worker
        self._pool_queue = pool_queue
        self._own_queue = own_queue
        self._on_work = on_work
        self._on_beat = on_beat
        self._wanted = True
        self._heard_itself = True
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._prepare()

    def listen_to_pool(self, wanted: bool) -> None:
        """Whether this worker wants the pool's bells now. May be called in any thread."""
        if wanted != self._wanted:
            self._wanted = wanted
            os.write(self._wake_writer, _WAKE)

    def run(self) -> None:
        """Keep a Celery worker running."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                self._controller().start()
            except Exception as error:  # noqa: BLE001 - whatever it is, the cure is another worker
                log.warning("The doorbell stopped: %s: %s", type(error).__name__, error)
            if time.monotonic() - began > _HEALTHY:
                pause = _FIRST_PAUSE
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _prepare(self) -> None:
        doorbell = self

        def ring(task: Any, job_ids: list[str]) -> None:
            """A bell rang."""
            if job_ids == [_OWN]:
                doorbell._heard_itself = True
            elif task.request.delivery_info["routing_key"] == doorbell._own_queue:
                doorbell._on_beat()
            else:
                with traces.span("doorbell", (task.request.headers or {}).get(traces.HEADER), "consumer"):
                    doorbell._on_work()

        class Attention(bootsteps.StartStopStep):  # type: ignore[misc]
            """Joins the pipe of `listen_to_pool` to Celery's event loop, again after each reconnection."""

            requires = ("celery.worker.consumer.tasks:Tasks",)

            def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
                hub.add_reader(doorbell._wake_reader, doorbell._attend, consumer)
                hub.call_soon(doorbell._attend, consumer)  # later: until this has returned it listens to nothing
                doorbell._heard_itself = True
                hub.call_repeatedly(_CHECK_SECONDS, doorbell._check)

        self._app.set_default()  # Celery looks for a running task in the default app
        self._app.task(ring, name=DOORBELL, bind=True, shared=False, lazy=False)
        self._app.steps["consumer"].add(Attention)
        # No task of ours is long; without this, Celery warns at each lost connection that its default will change.
        self._app.conf.worker_cancel_long_running_tasks_on_connection_loss = True
        self._app.conf.task_queues = [queue(self._pool_queue), queue(self._own_queue)]

    def _controller(self) -> Any:
        set_event_loop(None)  # the one of a failed predecessor is closed
        return WorkController(
            app=self._app,
            hostname=f"neutrino@{self._worker}",
            pool_cls="solo",
            concurrency=1,
            queues=[self._pool_queue, self._own_queue],
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            loglevel=logging.WARNING,
        )

    def _check(self) -> None:
        """Raise, which makes Celery reconnect, when the last bell to ourselves was not heard; then ring another."""
        if not self._heard_itself:
            raise ConnectionError("the worker does not hear its own bell")
        self._heard_itself = False
        with self._app.connection_for_write(connect_timeout=_CONNECT_SECONDS) as connection:
            self._app.send_task(
                DOORBELL,
                args=[[_OWN]],
                queue=queue(self._own_queue),
                connection=connection,
                expires=_CHECK_SECONDS,
                retry=False,
                ignore_result=True,
            )

    def _attend(self, consumer: Any) -> None:
        with contextlib.suppress(BlockingIOError):  # called without a reason in the pipe, after a reconnection
            os.read(self._wake_reader, 4096)
        listening = consumer.task_consumer.consuming_from(self._pool_queue)
        if self._wanted and not listening:
            consumer.add_task_queue(self._pool_queue)
        elif listening and not self._wanted:
            consumer.cancel_task_queue(self._pool_queue)

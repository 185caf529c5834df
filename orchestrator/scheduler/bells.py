"""Rings doorbells from a thread of its own, so that a Redis that hangs holds nothing else up.

A bell that cannot be rung is dropped: the reconciler notices the job that nobody came for, and rings again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence

from orchestrator.broker import Doorbell, celery_app

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 5.0


class Bells:
    """Bells to ring. Several for one pool that wait are rung together."""

    def __init__(self, url: str | None = None) -> None:
        self._app = celery_app(url)
        self._pools: Counter[str] = Counter()
        self._jobs: dict[str, tuple[list[str], str | None]] = {}
        self._workers: set[str] = set()
        self._wanted = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="bells", daemon=True)
        self._asked: float | None = None
        self._fault: str | None = None

    def start(self) -> None:
        """Begin ringing."""
        self._thread.start()

    def stop(self) -> None:
        """Ring what still waits, then end."""
        with self._wanted:
            self._stopping = True
            self._wanted.notify()
        self._thread.join(timeout=5)

    def pool(self, name: str, job_ids: Sequence[str], times: int, traceparent: str | None = None) -> None:
        """Wake up to `times` workers of a pool; see `Doorbell.ring_pool`."""
        with self._wanted:
            self._pools[name] = max(self._pools[name], times)
            self._jobs[name] = list(job_ids), traceparent
            self._wanted.notify()

    def workers(self, ids: Sequence[str]) -> None:
        """Make these workers send a heartbeat now."""
        with self._wanted:
            self._workers.update(ids)
            self._wanted.notify()

    def ask(self) -> None:
        """Find out whether the broker is there, for `broken`."""
        with self._wanted:
            if self._asked is None:
                self._asked = time.monotonic()
                self._wanted.notify()

    @property
    def broken(self) -> str | None:
        """What is wrong with the broker, in words; None while it takes bells."""
        silence = time.monotonic() - (self._asked or time.monotonic())
        return self._fault or (
            f"the broker has not answered for {silence:.0f} s" if silence > _PATIENCE_SECONDS else None
        )

    def _take(self) -> tuple[Counter[str], dict[str, tuple[list[str], str | None]], set[str]]:
        with self._wanted:
            self._wanted.wait_for(lambda: self._pools or self._workers or self._asked or self._stopping)
            taken = self._pools, self._jobs, self._workers
            self._pools, self._jobs, self._workers = Counter(), {}, set()
            return taken

    def _run(self) -> None:
        doorbell: Doorbell | None = None
        while True:
            pools, jobs, workers = self._take()
            if self._stopping and not pools and not workers:
                return
            try:
                doorbell = doorbell or Doorbell(self._app)
                if self._asked:
                    doorbell.check()
                for worker in workers:
                    doorbell.ring_worker(worker)
                for name, times in pools.items():
                    job_ids, traceparent = jobs[name]
                    doorbell.ring_pool(name, job_ids, times, traceparent)
                self._fault = None
            except Exception as error:  # noqa: BLE001 - kombu passes on whatever Redis and the network come up with
                # A half-open connection would fail for ever: the next bell gets a new one.
                if doorbell is not None:
                    with contextlib.suppress(Exception):  # whatever is wrong with it, it is given up
                        doorbell.close()
                doorbell = None
                self._fault = f"the broker does not answer ({type(error).__name__})"
                log.warning("%s; bells are rung again later", self._fault)
            self._asked = None

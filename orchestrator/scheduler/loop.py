"""One replica's life: woken by Postgres for what is new, by the clock for what has gone wrong."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg

from orchestrator.alive import Alive
from orchestrator.domain.errors import ServerUnavailable
from orchestrator.domain.ids import encode
from orchestrator.scheduler import dispatcher, reconciler
from orchestrator.scheduler.bells import Bells
from orchestrator.scheduler.dispatcher import Ring
from orchestrator.store import components, queue
from orchestrator.store.notify import EVERYTHING, QUEUE, WORKERS
from orchestrator.store.session import Database

log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_SIGN_OF_LIFE_SECONDS = 5.0
_SWEEP_SECONDS = 600.0
_RECONNECT_SECONDS = 1.0


class Every:
    """Something to do when its time has come, by the monotonic clock. An action that returns True has more to do: it is
    due again in the next round."""

    def __init__(self, seconds: float, action: Callable[[], bool | None]) -> None:
        self._seconds = seconds
        self._action = action
        self._due = 0.0

    def run_if_due(self) -> None:
        """Do it if its time has come."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._seconds
            if self._action():
                self._due = 0.0


class Scheduler:
    """A replica on a database and a broker. `run()` returns after `stop` is set."""

    def __init__(self, database: Database, bells: Bells) -> None:
        self._database = database
        self._bells = bells
        self._name = f"scheduler@{socket.gethostname()}:{os.getpid()}"
        self.stop = threading.Event()
        self._alive = Alive()
        self._chores = [
            Every(_SIGN_OF_LIFE_SECONDS, self._sign_of_life),
            Every(_TICK_SECONDS, self._reconcile),
            Every(_SWEEP_SECONDS, lambda: reconciler.sweep(database)),
        ]

    def run(self) -> None:
        """Work until stopped. While the database is away nothing can be decided, so nothing is."""
        while not self.stop.is_set():
            self._alive.beat()
            try:
                with self._database.listener(QUEUE, WORKERS) as notices:
                    self._work(notices)
            except (ServerUnavailable, psycopg.OperationalError):
                log.warning("the database does not answer; looking again")
                self.stop.wait(_RECONNECT_SECONDS)
            except Exception:
                # What fails for one job or one store must not end the placing of all others.
                log.exception("a round of the scheduler failed; going on")
                self.stop.wait(_RECONNECT_SECONDS)
        with suppress(ServerUnavailable), self._database.transaction() as connection:
            components.left(connection, self._name)

    def _work(self, notices: psycopg.Connection[object]) -> None:
        while not self.stop.is_set():
            self._alive.beat()
            for chore in self._chores:
                chore.run_if_due()
            self._ring(dispatcher.dispatch(self._database))
            with self._database.transaction() as connection:
                held_back = queue.soonest(connection)
            self._listen(notices, min(_TICK_SECONDS, _TICK_SECONDS if held_back is None else held_back + 0.001))

    def _listen(self, notices: psycopg.Connection[object], seconds: float) -> None:
        """Wait until there is something to dispatch or the time is over; ring for workers meanwhile."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self.stop.is_set():
            channels = set()
            for notice in notices.notifies(timeout=left, stop_after=1):
                channels.add(notice.channel)
                if notice.channel == WORKERS and notice.payload != EVERYTHING:
                    ids = [encode("w", int(part)) for part in notice.payload.split(",") if part.isdecimal()]
                    self._bells.workers(ids)
            if QUEUE in channels:
                return

    def _ring(self, rings: list[Ring]) -> None:
        for ring in rings:
            if ring.times:
                self._bells.pool(ring.pool, ring.job_ids, ring.times, ring.traceparent)

    def _reconcile(self) -> None:
        reconciler.expire(self._database)
        reconciler.stop_dear(self._database)
        reconciler.withdraw(self._database)
        reconciler.rebalance(self._database)
        reconciler.copy_ahead(self._database)
        reconciler.let_follow(self._database)
        self._ring(reconciler.unheard(self._database))

    def _sign_of_life(self) -> None:
        broken = self._bells.broken
        with self._database.transaction() as connection:
            components.seen(connection, self._name, "scheduler", broken or "placing jobs")
            components.seen(connection, "redis", "broker", broken or "takes bells", ok=broken is None)
        self._bells.ask()

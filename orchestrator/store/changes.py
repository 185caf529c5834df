"""Wakes whoever watches jobs when Postgres says that they have changed.

One connection per process LISTENs; watchers of one job wait on events of their own, and whoever follows all of them is
called with the ids. A missed notification is made up for by a slow look: every watcher also looks after POLL_SECONDS.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.domain.errors import ServerUnavailable
from orchestrator.store.notify import EVERYTHING, JOBS
from orchestrator.store.session import Database

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0
_RECONNECT_SECONDS = 1.0
_LISTEN_SECONDS = 1.0


class Changes:
    """The watchers of this process. `start()` belongs into the event loop that they run in."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watchers: defaultdict[int, set[asyncio.Event]] = defaultdict(set)
        self._followers: list[Callable[[frozenset[int] | None], None]] = []
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._listen, name="changes", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Stop listening and let every watcher go."""
        self._stop.set()
        self._wake(EVERYTHING)
        await asyncio.to_thread(self._thread.join)

    @property
    def stopping(self) -> bool:
        """True when watchers should end their streams; their clients come back to another process."""
        return self._stop.is_set()

    @contextmanager
    def watch(self, job_id: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job has changed; clear it before looking."""
        event = asyncio.Event()
        self._watchers[job_id].add(event)
        try:
            yield event
        finally:
            self._watchers[job_id].discard(event)
            if not self._watchers[job_id]:
                del self._watchers[job_id]

    def follow(self, follower: Callable[[frozenset[int] | None], None]) -> None:
        """Call `follower` in the event loop with the ids of jobs that have changed; None means that any may have."""
        self._followers.append(follower)

    def _wake(self, payload: str) -> None:
        changed = None if payload == EVERYTHING else frozenset(map(int, payload.split(",")))
        for job_id in list(self._watchers) if changed is None else changed & self._watchers.keys():
            for event in self._watchers[job_id]:
                event.set()
        for follower in self._followers:
            follower(changed)

    def _listen(self) -> None:
        assert self._loop is not None
        while not self._stop.is_set():
            try:
                with self._database.listener(JOBS) as connection:
                    self._loop.call_soon_threadsafe(self._wake, EVERYTHING)  # what was missed meanwhile
                    while not self._stop.is_set():
                        for notice in connection.notifies(timeout=_LISTEN_SECONDS):
                            self._loop.call_soon_threadsafe(self._wake, notice.payload)
            except ServerUnavailable:
                log.warning("not listening: the database does not answer; watchers look every %s s", POLL_SECONDS)
                self._stop.wait(_RECONNECT_SECONDS)


async def changed(event: asyncio.Event) -> None:
    """Wait until the watched job has changed, or until it is time to look anyway."""
    try:
        await asyncio.wait_for(event.wait(), POLL_SECONDS)
    except TimeoutError:
        return
    finally:
        event.clear()

"""The API's sign of life, for the overview and `neutrino doctor`."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from orchestrator.alive import Alive
from orchestrator.domain.errors import ServerUnavailable
from orchestrator.store import components
from orchestrator.store.session import Database
from orchestrator.version import VERSION

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0


class Tick:
    """Writes down every few seconds that this process lives."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._alive = Alive()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tick", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, wait for the last one, and say goodbye."""
        self._stop.set()
        self._thread.join()
        with suppress(ServerUnavailable), self._database.transaction() as connection:
            components.left(connection, self._name)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._alive.beat()
                with self._database.transaction() as connection:
                    components.seen(connection, self._name, "api", f"version {VERSION}")
            except ServerUnavailable:
                log.warning("the database does not answer")
            except Exception:
                log.exception("the sign of life failed; it goes on")
            self._stop.wait(_EVERY_SECONDS)

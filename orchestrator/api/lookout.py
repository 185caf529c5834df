"""Looks at the object stores, so that the dashboard need not: what it sees is written down as a component's health.

The API is the one that reads artifacts for people, so a store that it does not reach is one that they do not reach.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from cloud_adapters.errors import ObjectNotFound
from orchestrator.api.outside import reach
from orchestrator.domain.artifact import MANIFEST_NAME
from orchestrator.domain.errors import NeutrinoError, ServerUnavailable
from orchestrator.store import components
from orchestrator.store.components import StoreToWatch
from orchestrator.store.session import Database

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0
_PATIENCE_SECONDS = 10.0


@dataclass(slots=True)
class _Look:
    """One look at a store; `fault` says what was wrong, once it is over."""

    began: float
    over: bool = False
    fault: str | None = None

    def at(self, wanted: StoreToWatch) -> None:
        """Ask the store for the newest artifact that should be there, or for anything when there is none."""
        try:
            reach(wanted.uri).head(f"{wanted.prefix}/{MANIFEST_NAME}" if wanted.prefix else MANIFEST_NAME)
        except ObjectNotFound:
            self.fault = f"The newest artifact, {wanted.prefix}, is not there." if wanted.prefix else None
        except NeutrinoError as error:
            self.fault = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a provider's SDK raises is what is wrong with the store
            self.fault = f"{type(error).__name__}: {error}"
        self.over = True


class Lookout:
    """Looks at each store every few seconds, from a thread of its own for each: one that hangs holds up no other."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looks: dict[str, _Look] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; looks that hang end with the process."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._database.transaction() as connection:
                    for wanted in components.stores_to_watch(connection):
                        fault = self._state(wanted)
                        if fault is not None:
                            components.seen(connection, wanted.uri, "store", fault or "answers", ok=not fault)
            except ServerUnavailable:
                log.warning("the database does not answer")
            except Exception:
                log.exception("the look at the stores failed; it goes on")
            self._stop.wait(_EVERY_SECONDS)

    def _state(self, wanted: StoreToWatch) -> str | None:
        """What is wrong with a store: empty when nothing is, None when that is not known yet. Looks again if due."""
        look = self._looks.get(wanted.uri)
        if look is None or look.over:
            self._looks[wanted.uri] = fresh = _Look(time.monotonic())
            threading.Thread(target=fresh.at, args=(wanted,), name="look", daemon=True).start()
        if look is None:
            return None
        silence = time.monotonic() - look.began
        if not look.over:
            return f"It has not answered for {silence:.0f} s." if silence > _PATIENCE_SECONDS else None
        return look.fault or ""

"""One list and one watch for all pods of a pool, however many there are.

The list gives the state and its resource version; the watch tells every change from there on. The server may end a
watch (then it goes on from the last version), forget the version (410: list again), hang, or be away: then what was
known stays known, and nothing is concluded from the silence.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from cloud_adapters.cluster.api import KubeApi
from cloud_adapters.cluster.manifests import FINALIZER, POOL_LABEL
from cloud_adapters.cluster.reading import piece, work_of
from cloud_adapters.compute import Piece
from cloud_adapters.compute_errors import ComputeError, Outdated

log = logging.getLogger(__name__)

_WATCH_SECONDS = 290  # then the server ends the watch, and another one begins
_SILENCE_SECONDS = 150.0  # bookmarks come once a minute
_RESYNC_SECONDS = 600.0
_YOUNG_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Made(NamedTuple):
    """A Job that there is: of how many nodes, and whether somebody has deleted it."""

    nodes: int
    doomed: bool = False


class Informer:
    """Knows the pieces of all work of a pool, and which Jobs there are. `run()` is for a thread of its own."""

    def __init__(self, api: KubeApi, namespace: str, pool: str) -> None:
        self._api = api
        self._pods_path = f"/api/v1/namespaces/{namespace}/pods"
        self._jobs_path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._selector = {"labelSelector": f"{POOL_LABEL}={pool}"}
        self._lock = threading.Lock()
        self._pods: dict[str, dict[str, Piece]] = {}
        self._jobs: dict[str, Made] = {}
        self._born: dict[str, float] = {}
        self._version = ""
        self._listed_at = 0.0
        self.synced = threading.Event()
        self.silent_since: float | None = None

    def pieces(self, name: str) -> tuple[Piece, ...]:
        """The pieces of some work, by index; the newest pod of each index."""
        with self._lock:
            return tuple(sorted(self._pods.get(name, {}).values(), key=lambda one: one.index))

    def jobs(self) -> dict[str, Made]:
        """All Jobs, by name."""
        with self._lock:
            return dict(self._jobs)

    def add(self, name: str, nodes: int) -> None:
        """A Job was made just now."""
        with self._lock:
            self._jobs.setdefault(name, Made(nodes))
            self._born[name] = time.monotonic()

    def forget(self, name: str) -> None:
        """A Job is not ours any more."""
        with self._lock:
            self._jobs.pop(name, None)
            self._born.pop(name, None)

    def run(self, on_change: Callable[[str], None], stop: threading.Event) -> None:
        """List and watch until `stop` is set."""
        pause = _FIRST_PAUSE
        while not stop.is_set():
            try:
                if not self._version or time.monotonic() - self._listed_at > _RESYNC_SECONDS:
                    self._list(on_change)
                self._watch(on_change, stop)
            except Outdated:
                log.info("The cluster has forgotten where we were; listing again.")
                self._version = ""
            except Exception as error:  # noqa: BLE001 - whatever it is: who dies here leaves the others with old news
                self._note_silence(error)
                stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            pause = _FIRST_PAUSE

    def list_jobs(self) -> None:
        """Look which Jobs there are."""
        asked = time.monotonic()
        try:
            found = self._our_jobs()
        except ComputeError as error:
            self._note_silence(error)
            raise
        self._answered()
        with self._lock:
            self._jobs = self._young(asked) | found

    def _young(self, asked: float) -> dict[str, Made]:
        """Jobs that a list asked for at that time may miss, because they were being made: they stay known."""
        born = (name for name, at in self._born.items() if at > asked - _YOUNG_SECONDS and name in self._jobs)
        return {name: Made(self._jobs[name].nodes) for name in born}

    def _our_jobs(self) -> dict[str, Made]:
        """Jobs that bear our finalizer; the others are recorded, and wait for the end of their time."""
        jobs, _ = self._api.items(self._jobs_path, self._selector)
        ours = [one for one in jobs if FINALIZER in one["metadata"].get("finalizers", ())]
        return {
            one["metadata"]["name"]: Made(one["spec"].get("completions", 1), "deletionTimestamp" in one["metadata"])
            for one in ours
        }

    def _note_silence(self, error: Exception) -> None:
        if self.silent_since is None:
            self.silent_since = time.time()
            expected = isinstance(error, ComputeError)
            log.warning("%s What was known stays known; trying again.", error, exc_info=None if expected else error)

    def _answered(self) -> None:
        if self.silent_since is not None:
            log.info("The cluster answers again, after %.0f s.", time.time() - self.silent_since)
            self.silent_since = None

    def _list(self, on_change: Callable[[str], None]) -> None:
        asked = time.monotonic()
        jobs = self._our_jobs()
        pods, version = self._api.items(self._pods_path, self._selector)
        found: dict[str, dict[str, Piece]] = {}
        for pod in pods:
            found.setdefault(work_of(pod), {})[pod["metadata"]["name"]] = piece(pod)
        with self._lock:
            before, self._pods = self._pods, found
            jobs_before, self._jobs = self._jobs, self._young(asked) | jobs
            changed = {
                name
                for name in before.keys() | found.keys() | jobs_before.keys() | self._jobs.keys()
                if before.get(name) != found.get(name) or jobs_before.get(name) != self._jobs.get(name)
            }
        self._version = version
        self._listed_at = time.monotonic()
        self._answered()
        self.synced.set()
        for name in changed:
            on_change(name)

    def _watch(self, on_change: Callable[[str], None], stop: threading.Event) -> None:
        query: dict[str, str | int] = {
            **self._selector,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": _WATCH_SECONDS,
        }
        for event in self._api.events(self._pods_path, query, _SILENCE_SECONDS):
            self._answered()
            if stop.is_set():
                return
            thing = event["object"]
            if event["type"] == "ERROR":
                raise Outdated(str(thing.get("message"))) if thing.get("code") == 410 else ComputeError(str(thing))
            self._version = thing["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK" and self._take(event["type"], thing):
                on_change(work_of(thing))

    def _take(self, kind: str, pod: dict[str, Any]) -> bool:
        """Note what happened to a pod. True when that is news."""
        name, own = work_of(pod), pod["metadata"]["name"]
        with self._lock:
            known = self._pods.setdefault(name, {})
            before = known.get(own)
            if kind == "DELETED":
                known.pop(own, None)
            else:
                known[own] = piece(pod)
            after = known.get(own)
            if not known:
                del self._pods[name]
        return before != after

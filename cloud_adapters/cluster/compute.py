"""Work on a Kubernetes cluster: one Indexed Job for each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from cloud_adapters.cluster import manifests
from cloud_adapters.cluster.api import STRATEGIC, KubeApi
from cloud_adapters.cluster.capacity import offers
from cloud_adapters.cluster.fixes import OBSTACLES, obstacle
from cloud_adapters.cluster.informer import Informer, Made
from cloud_adapters.cluster.manifests import FINALIZER, INDEX, JOB_NAME, POOL_LABEL, PodTarget
from cloud_adapters.compute import Offer, Piece, Status, Work
from cloud_adapters.compute_errors import ComputeError, WorkExists, WorkNotFound

_EVENTS_EVERY, _JOBS_EVERY = 5.0, 30.0  # seconds


class KubernetesCompute:
    """The work of one pool in one namespace. `watch` has to run for `status` and `inventory` to know anything."""

    def __init__(self, api: KubeApi, target: PodTarget) -> None:
        self._api = api
        self._target = target
        self._core = f"/api/v1/namespaces/{target.namespace}"
        self._jobs = f"/apis/batch/v1/namespaces/{target.namespace}/jobs"
        self._secrets, self._services = f"{self._core}/secrets", f"{self._core}/services"
        self._policies = f"/apis/networking.k8s.io/v1/namespaces/{target.namespace}/networkpolicies"
        self._informer = Informer(api, target.namespace, target.pool)
        self._obstacles: dict[str, str] = {}
        self._bare: dict[str, tuple[str, str]] = {}
        self._looked = self._listed = 0.0

    @property
    def synced(self) -> threading.Event:
        """Set once everything that is there is known."""
        return self._informer.synced

    @property
    def silent_since(self) -> float | None:
        """Since when the API server has not answered, in seconds since the epoch; None while it does."""
        return self._informer.silent_since

    def offers(self) -> tuple[Offer, ...]:
        """The nodes that are ready, by shape."""
        nodes, _ = self._api.items("/api/v1/nodes")
        return offers(nodes, self._target.settings)

    def launch(self, work: Work) -> None:
        """Make the Job; last, so that whatever it needs is there once it is. The rest goes with it."""
        made = manifests.job(work, self._target)
        belongings = [(self._secrets, manifests.secret(work, self._target))]
        if work.nodes > 1:
            belongings.append((self._services, manifests.service(work, self._target)))
            belongings.append((self._policies, manifests.network_policy(work, self._target)))
        for path, thing in belongings:
            self._create(path, thing)
        try:
            made = self._api.call("POST", self._jobs, made)
        except WorkExists:
            made = self._same(work)
        except ComputeError as error:
            if not error.retryable:
                self._drop_belongings(work.name)
            raise
        self._informer.add(work.name, work.nodes)
        owner = manifests.owned_by(work.name, made["metadata"]["uid"])
        for path, _ in belongings:
            self._patch(f"{path}/{work.name}", owner)

    def _create(self, path: str, thing: dict[str, Any]) -> None:
        with suppress(WorkExists):
            self._api.call("POST", path, thing)

    def _same(self, work: Work) -> dict[str, Any]:
        """The Job of this name, which must be the one that we mean: same job, same epoch, same pool."""
        found: dict[str, Any] = self._api.call("GET", f"{self._jobs}/{work.name}")
        labels = found["metadata"].get("labels") or {}
        wanted = {POOL_LABEL: self._target.pool, **work.labels}
        if any(labels.get(name) != value for name, value in wanted.items()):
            raise WorkExists(
                f"There is a Job {work.name} in namespace {self._target.namespace} that is not ours.",
                hint="Two installations of Neutrino must not share a namespace.",
            )
        return found

    def _patch(self, path: str, patch: object) -> None:
        with suppress(WorkNotFound):
            self._api.call("PATCH", path, patch, kind=STRATEGIC)

    def _drop_belongings(self, name: str) -> None:
        """The token, at once; and what several nodes share, which has no owner when there was no Job."""
        for path in (self._secrets, self._services, self._policies):
            with suppress(ComputeError):
                self._api.call("DELETE", f"{path}/{name}")

    def status(self, name: str) -> Status | None:
        jobs = self._informer.jobs()
        pieces = tuple(self._told_of(piece) for piece in self._informer.pieces(name))
        if name not in jobs and all(piece.phase.over for piece in pieces):
            return None
        wanted, doomed = jobs.get(name, Made(len(pieces), doomed=True))
        why = self._obstacles.get(name, "") if len(pieces) < wanted else ""
        return Status(name, pieces, why, doomed, wanted)

    def _told_of(self, piece: Piece) -> Piece:
        """A pod that has a node and nothing else yet, with what events say of that."""
        if not piece.bare or piece.name not in self._bare:
            return piece
        reason, text = obstacle(*self._bare[piece.name])
        return replace(piece, reason=reason, message=text)

    def inventory(self) -> dict[str, Status]:
        """Everything there is, as of the last list and what the watch has told since."""
        return {name: status for name in self._informer.jobs() if (status := self.status(name))}

    def look_around(self) -> None:
        """Find out which Jobs were deleted by hand, why Jobs lack pods, and what stands in the way of pods on their
        nodes: a list each for all of them, not often."""
        now = time.monotonic()
        if now - self._listed > _JOBS_EVERY:
            self._listed = now
            self._informer.list_jobs()
        if now - self._looked < _EVENTS_EVERY:
            return
        there = {name: (made, self._informer.pieces(name)) for name, made in self._informer.jobs().items()}
        if any(len(pieces) < made.nodes for made, pieces in there.values()):
            self._looked = now
            self._obstacles = self._why_no_pods()
        if any(piece.bare for _, pieces in there.values() for piece in pieces):
            self._looked = now
            self._bare = self._why_bare()

    def _why_no_pods(self) -> dict[str, str]:
        """What events say of Jobs, by name."""
        found = {name: words for name, _, words in self._told("Job", "reason=FailedCreate")}
        if self._target.settings.queue:  # what Kueue says of its Workload job-NAME-HASH
            pending = self._told("Workload", "reason=Pending")
            found |= {name.removeprefix("job-").rpartition("-")[0]: words for name, _, words in pending}
        return found

    def _why_bare(self) -> dict[str, tuple[str, str]]:
        """What events say of pods, by name: Kubernetes' name for it, and its words."""
        told = self._told("Pod", "type=Warning,reason!=FailedScheduling")
        return {name: (reason, words) for name, reason, words in told if reason in OBSTACLES}

    def _told(self, kind: str, which: str) -> Iterator[tuple[str, str, str]]:
        """What events say of all objects of a kind: name, reason and words, the last ones last."""
        events, _ = self._api.items(f"{self._core}/events", {"fieldSelector": f"involvedObject.kind={kind},{which}"})
        events.sort(key=lambda one: one.get("lastTimestamp") or one.get("eventTime") or "")
        return ((one["involvedObject"]["name"], one.get("reason", ""), one.get("message", "")) for one in events)

    def logs(self, name: str, index: int = 0, *, tail: int = 100) -> Iterator[str]:
        """What the pod's own process has written; the lines of the job itself are in Neutrino's log."""
        selector = f"{JOB_NAME}={name},{INDEX}={index}"
        pods, _ = self._api.items(f"{self._core}/pods", {"labelSelector": selector})
        for pod in pods:
            path = f"{self._core}/pods/{pod['metadata']['name']}/log"
            yield from self._api.text(path, {"tailLines": tail}).splitlines()

    def terminate(self, name: str) -> None:
        """Delete the Job. In the foreground: it stays until its pods are gone, and until `release`."""
        body = manifests.deletion("Foreground")
        with suppress(WorkNotFound):
            self._api.call("DELETE", f"{self._jobs}/{name}", body)

    def release(self, name: str) -> None:
        """Take our finalizer off. What is over is deleted by its time to live, what is not by who deletes it."""
        self._drop_belongings(name)
        self._patch(f"{self._jobs}/{name}", {"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}})
        self._informer.forget(name)

    def watch(self, on_change: Callable[[str], None], stop: threading.Event) -> None:
        self._informer.run(on_change, stop)


def remove_jobs(api: KubeApi, namespace: str, pool: str) -> int:
    """Delete all Jobs of a pool with what belongs to them, recorded or not; returns how many there were."""
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    jobs, _ = api.items(path, {"labelSelector": f"{POOL_LABEL}={pool}"})
    for job in jobs:
        name = job["metadata"]["name"]
        with suppress(WorkNotFound):
            patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
            api.call("PATCH", f"{path}/{name}", patch, kind=STRATEGIC)
            api.call("DELETE", f"{path}/{name}", manifests.deletion("Background"))
    return len(jobs)

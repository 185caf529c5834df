"""The objects of the API double: one version counter, optimistic concurrency, finalizers, owners, and a history
that can be forgotten, as etcd's is when it is compacted."""

from __future__ import annotations

import copy
import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str, str]

KINDS = {
    "jobs": ("batch/v1", "Job"),
    "pods": ("v1", "Pod"),
    "secrets": ("v1", "Secret"),
    "services": ("v1", "Service"),
    "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy"),
    "events": ("v1", "Event"),
    "nodes": ("v1", "Node"),
}
NOW = "2026-11-21T12:00:00Z"


class Refused(Exception):
    """An answer of the server that is no success: the HTTP status, the reason for programs, the words for people."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Objects:
    """All objects. `changed` is notified at each change; whoever reads or writes holds it."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.by_key: dict[Key, Json] = {}
        self.history: list[tuple[int, str, str, str, Json]] = []
        self.forgotten = 0
        self._version = 100

    @property
    def version(self) -> int:
        return self._version

    def get(self, resource: str, namespace: str, name: str) -> Json:
        with self.changed:
            try:
                return self.by_key[resource, namespace, name]
            except KeyError:
                raise Refused(404, "NotFound", f'{resource} "{name}" not found') from None

    def all(self, resource: str, namespace: str = "") -> list[Json]:
        with self.changed:
            found = [
                (key, thing) for key, thing in self.by_key.items() if key[0] == resource and namespace in {"", key[1]}
            ]
            return [thing for _, thing in sorted(found, key=lambda pair: pair[0])]

    def create(self, resource: str, namespace: str, thing: Json) -> Json:
        with self.changed:
            thing = copy.deepcopy(thing)
            meta = thing.setdefault("metadata", {})
            if "name" not in meta:
                meta["name"] = meta.pop("generateName") + uuid.uuid4().hex[:5]
            if (resource, namespace, meta["name"]) in self.by_key:
                raise Refused(409, "AlreadyExists", f'{resource} "{meta["name"]}" already exists')
            meta |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": NOW}
            thing["apiVersion"], thing["kind"] = KINDS[resource]
            if resource == "secrets":
                thing["data"] = {**thing.get("data", {}), **thing.pop("stringData", {})}
            if resource == "pods":
                thing.setdefault("status", {"phase": "Pending"})
            return self._store("ADDED", resource, thing)

    def replace(self, resource: str, thing: Json) -> Json:
        """Store an object anew; with a resource version, only over that one."""
        with self.changed:
            meta = thing["metadata"]
            now = self.get(resource, meta.get("namespace", ""), meta["name"])
            wanted = meta.get("resourceVersion")
            if wanted is not None and wanted != now["metadata"]["resourceVersion"]:
                raise Refused(409, "Conflict", "the object has been modified; please apply your changes to the latest")
            if {**thing, "metadata": {**meta, "resourceVersion": now["metadata"]["resourceVersion"]}} == now:
                return now
            if "deletionTimestamp" in meta and not meta.get("finalizers") and not self._graceful(resource, thing):
                return self._remove(resource, thing)
            return self._store("MODIFIED", resource, copy.deepcopy(thing))

    def update(self, resource: str, namespace: str, name: str, change: Callable[[Json], None]) -> Json:
        with self.changed:
            thing = copy.deepcopy(self.get(resource, namespace, name))
            change(thing)
            return self.replace(resource, thing)

    def delete(
        self, resource: str, namespace: str, name: str, policy: str = "Background", grace: int | None = None
    ) -> Json:
        """Delete now, or mark for deletion what has finalizers, dependents in the foreground, or a grace period."""
        with self.changed:
            thing = copy.deepcopy(self.get(resource, namespace, name))
            meta = thing["metadata"]
            if policy == "Foreground":
                meta["finalizers"] = sorted({*meta.get("finalizers", ()), "foregroundDeletion"})
            if resource == "pods" and grace is None:
                grace = thing["spec"].get("terminationGracePeriodSeconds", 30)
            if (
                resource == "pods"
                and grace
                and thing.get("status", {}).get("phase") in {"Running", "Pending"}
                and thing["spec"].get("nodeName")
            ):
                meta["deletionGracePeriodSeconds"] = grace
            elif resource == "pods":
                meta.pop("deletionGracePeriodSeconds", None)
            if meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
                ends = datetime.now(UTC) + timedelta(seconds=meta.get("deletionGracePeriodSeconds", 0))
                meta.setdefault("deletionTimestamp", ends.strftime("%Y-%m-%dT%H:%M:%SZ"))
                return self._store("MODIFIED", resource, thing)
            return self._remove(resource, thing)

    def _graceful(self, resource: str, thing: Json) -> bool:
        return resource == "pods" and bool(thing["metadata"].get("deletionGracePeriodSeconds"))

    def _remove(self, resource: str, thing: Json) -> Json:
        meta = thing["metadata"]
        del self.by_key[resource, meta.get("namespace", ""), meta["name"]]
        return self._note("DELETED", resource, copy.deepcopy(thing))

    def _store(self, kind: str, resource: str, thing: Json) -> Json:
        meta = thing["metadata"]
        self._note(kind, resource, thing)
        self.by_key[resource, meta.get("namespace", ""), meta["name"]] = thing
        return thing

    def _note(self, kind: str, resource: str, thing: Json) -> Json:
        self._version += 1
        thing["metadata"]["resourceVersion"] = str(self._version)
        self.history.append((self._version, kind, resource, thing["metadata"].get("namespace", ""), thing))
        self.changed.notify_all()
        return thing

    def forget(self) -> None:
        """Compact: watches from before now are told 410."""
        with self.changed:
            self.forgotten = self._version
            self.history.clear()
            self.changed.notify_all()

    def since(self, version: int) -> Iterator[tuple[int, str, str, str, Json]]:
        """What happened after a version. Raises Refused (410) when that is not known any more."""
        with self.changed:
            if version < self.forgotten:
                raise Refused(410, "Expired", f"too old resource version: {version} ({self.forgotten})")
            # Newest first, so that a watch does not walk through all that it has seen.
            news = list(itertools.takewhile(lambda entry: entry[0] > version, reversed(self.history)))
        return reversed(news)


def matches(thing: Json, labels: str, fields: str) -> bool:
    """Whether an object has these labels (`a=b,c!=d,e`) and fields (`metadata.name=x`)."""
    have = thing["metadata"].get("labels") or {}
    for term in filter(None, labels.split(",")):
        if "!=" in term:
            key, _, value = term.partition("!=")
            if have.get(key) == value:
                return False
        elif "=" in term:
            key, _, value = term.replace("==", "=").partition("=")
            if have.get(key) != value:
                return False
        elif term not in have:
            return False
    for term in filter(None, fields.split(",")):
        path, is_not, value = term.partition("!=")
        if not is_not:
            path, _, value = term.partition("=")
        if (_at(thing, path) != value) != bool(is_not):
            return False
    return True


def _at(thing: Json, path: str) -> Any:
    """What stands at `a.b.c`."""
    for part in path.split("."):
        thing = (thing or {}).get(part, {})
    return thing

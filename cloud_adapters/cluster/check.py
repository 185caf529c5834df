"""Whether a cluster can do what we need of it: each thing tried, and for each failure what mends it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cloud_adapters.cluster.api import KubeApi
from cloud_adapters.cluster.capacity import offers
from cloud_adapters.cluster.compute import KubernetesCompute
from cloud_adapters.cluster.manifests import JOB_NAME, PodTarget
from cloud_adapters.cluster.reading import piece
from cloud_adapters.compute import Work
from cloud_adapters.compute_errors import ComputeError, WorkNotFound
from orchestrator.domain.pods import Check
from orchestrator.domain.quantities import parse_gpu

PROBE = ("python", "-P", "-m", "workers.probe")
NEEDED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("batch", "jobs", ("create", "get", "list", "patch", "delete")),
    ("", "pods", ("get", "list", "watch")),
    ("", "pods/log", ("get",)),
    ("", "secrets", ("create", "patch", "delete")),
    ("", "services", ("create", "patch", "delete")),
    ("networking.k8s.io", "networkpolicies", ("create", "patch", "delete")),
    ("", "events", ("list",)),
)
_TRIAL = {"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "neutrino-check-"}, "type": "Opaque"}
_PATIENCE = 180.0
_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a pool needs of its cluster: where its pods go, what they are told, their store and their GPU."""

    target: PodTarget
    env: Mapping[str, str]
    store: str
    gpu: str | None


def examine(api: KubeApi, wanted: Wanted, patience: float = _PATIENCE, *, probe: bool = True) -> tuple[Check, ...]:
    """Try everything, with `probe` from inside a pod as well; stops early only where nothing further can be tried."""
    reach = _reach(api)
    if not reach.ok:
        return (reach,)
    permissions = _permissions(api, wanted.target.namespace)
    checks = [reach, permissions, _capacity(api, wanted)]
    if permissions.ok and probe:
        checks += _probe(api, wanted, patience)
    return tuple(checks)


def _reach(api: KubeApi) -> Check:
    try:
        version = api.call("GET", "/version").get("gitVersion", "of no version")
    except ComputeError as error:
        fix = error.hint or "Look at the address, the network between the launcher and it, and its credentials."
        return Check(name="API server", ok=False, detail=error.message, fix=fix)
    return Check(name="API server", ok=True, detail=f"Kubernetes {version} at {api.host}.")


def _permissions(api: KubeApi, namespace: str) -> Check:
    denied = [
        f"{verb} {resource}"
        for group, resource, verbs in NEEDED
        for verb in verbs
        if not _may(api, namespace, group, resource, verb)
    ]
    if denied:
        return Check(
            name="permissions",
            ok=False,
            detail=f"In namespace {namespace} the launcher may not: {', '.join(denied)}.",
            fix="Install the chart's Role for it, or bind one with these rules: see docs/how-to/connect-a-cluster.md.",
        )
    try:
        api.call("POST", f"/api/v1/namespaces/{namespace}/secrets", _TRIAL, {"dryRun": "All"})
    except ComputeError as error:
        fix = f"Is it the right cluster? If so: kubectl create namespace {namespace}"
        if not isinstance(error, WorkNotFound):
            fix = error.hint or "Something on the cluster refuses what the launcher has to make: read what it says."
        text = f"Nothing can be made in namespace {namespace}: {error.message}"
        return Check(name="permissions", ok=False, detail=text, fix=fix)
    return Check(name="permissions", ok=True, detail=f"All that is needed in namespace {namespace}.")


def _may(api: KubeApi, namespace: str, group: str, resource: str, verb: str) -> bool:
    kind, _, part = resource.partition("/")
    attributes = {"namespace": namespace, "group": group, "resource": kind, "verb": verb}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes | ({"subresource": part} if part else {})},
    }
    try:
        answer = api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    except ComputeError:
        return False
    return bool(answer["status"]["allowed"])


def _capacity(api: KubeApi, wanted: Wanted) -> Check:
    try:
        there = offers(api.items("/api/v1/nodes")[0], wanted.target.settings)
    except ComputeError as error:
        text = f"The nodes cannot be seen, so their GPUs are not known: {error.message}"
        return Check(name="capacity", ok=wanted.gpu is None, detail=text, fix="Allow the launcher to list nodes.")
    shapes = [f"{one.machines} of {one.cpu:g} CPU" + (f", {one.gpu}" if one.gpu else "") for one in there]
    seen = "; ".join(shapes) or "no node is ready"
    if wanted.gpu is None:
        return Check(name="capacity", ok=bool(there), detail=f"Nodes: {seen}.", fix=None if there else "Add a node.")
    need = parse_gpu(wanted.gpu)
    most = max(
        (one.gpu.per_node for one in there if one.gpu is not None and one.gpu.type in {need.type, "GPU"}), default=0
    )
    if most >= need.per_node:
        return Check(name="capacity", ok=True, detail=f"Nodes: {seen}.")
    return Check(
        name="capacity",
        ok=False,
        detail=f"No node that is there now has {need}: {seen}.",
        fix="Add a node pool with that GPU and its device plugin; if an autoscaler does so by itself, all is well.",
    )


def _probe(api: KubeApi, wanted: Wanted, patience: float) -> Iterator[Check]:
    """A pod like every other one, which tries from inside what the pods of jobs will need."""
    # Under a label of its own, so that no launcher takes it for an attempt.
    target = replace(
        wanted.target,
        pool=f"{wanted.target.pool}.check",
        settings=wanted.target.settings.model_copy(update={"queue": None}),
    )
    compute = KubernetesCompute(api, target)
    work = Work(
        name=f"check-{secrets.token_hex(4)}",
        command=PROBE,
        env={**wanted.env, "NEUTRINO_PROBE_STORE": wanted.store},
        token="none",  # noqa: S106 - it has none
        cpu=0.1,
        deadline=patience,
        grace=1.0,
    )
    try:
        compute.launch(work)
    except ComputeError as error:
        fix = error.hint or "Read what Kubernetes says; a namespace that does not exist has to be made first."
        yield Check(name="pod", ok=False, detail=error.message, fix=fix)
        return
    try:
        yield from _await(api, target, work, patience)
    finally:
        compute.terminate(work.name)
        compute.release(work.name)


def _await(api: KubeApi, target: PodTarget, work: Work, patience: float) -> Iterator[Check]:
    deadline = time.monotonic() + patience
    last = "No pod was made."
    while time.monotonic() < deadline:
        pods, _ = api.items(f"/api/v1/namespaces/{target.namespace}/pods", {"labelSelector": f"{JOB_NAME}={work.name}"})
        for pod in pods:
            now = piece(pod)
            last = now.message or last
            if now.phase.over or now.hopeless:
                yield from _read(pod, now.message)
                return
        time.sleep(_PAUSE)
    fix = "If it waits for a node, add one; if for its image, look at its name and imagePullSecrets."
    yield Check(name="pod", ok=False, detail=f"It did not end within {patience:.0f} s. {last}", fix=fix)


def _read(pod: Mapping[str, Any], message: str) -> Iterator[Check]:
    statuses = pod["status"].get("containerStatuses", ())
    said = next((one["state"]["terminated"].get("message", "") for one in statuses if "terminated" in one["state"]), "")
    try:
        found = [Check.model_validate(one) for one in json.loads(said)]
    except (ValueError, TypeError):
        fix = "Look at the image: it must be one that can be pulled, with Python and neutrino-ai in it."
        yield Check(name="pod", ok=False, detail=message or said or "It ended without a word.", fix=fix)
        return
    yield Check(name="pod", ok=True, detail="Its image was pulled, and it ran under the restricted standard.")
    yield from found

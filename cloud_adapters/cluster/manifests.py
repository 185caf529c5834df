"""Work as Kubernetes objects, from typed fields only: pure.

What is made passes the Pod Security Standard *restricted*. Every value stands in the place it is meant for; there is no
patch and no template, so no job can become privileged, mount the host, or be root.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloud_adapters.cluster.presets import gpu_resource, node_terms, tolerations
from cloud_adapters.compute import Work
from cloud_adapters.compute_errors import WorkRefused
from orchestrator.domain.pods import STORE_FOLDER, PodSettings

FINALIZER = "neutrino/recorded"
POOL_LABEL = "neutrino/pool"
INDEX = "batch.kubernetes.io/job-completion-index"
JOB_NAME = "batch.kubernetes.io/job-name"
USER = 10001  # not root, and no user of the image's own
TOKEN_FOLDER, WORK_FOLDER = "/var/run/neutrino", "/work"
LAST_WORDS = "/dev/termination-log"
LEAST_CPU_LIMIT = 1000  # thousandths: with less, the process that runs the job takes minutes to start
OVERHEAD = 256 * 1024**2  # bytes beside what the job asked for: the process that runs it
KEEP_SECONDS = 600
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_QUEUE = "kueue.x-k8s.io/queue-name"


@dataclass(frozen=True, slots=True)
class PodTarget:
    """Where work goes: a namespace, and what all pods of a pool have in common."""

    namespace: str
    pool: str
    settings: PodSettings
    image: str


def job(work: Work, target: PodTarget) -> dict[str, Any]:
    """The Indexed Job. Raises WorkRefused for what its pool does not allow."""
    settings = target.settings
    _check_secrets(work, settings)
    labels = _labels(work, target)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": work.name,
            "namespace": target.namespace,
            "labels": labels | ({_QUEUE: settings.queue} if settings.queue else {}),
            "finalizers": [FINALIZER],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": work.nodes,
            "parallelism": work.nodes,
            "backoffLimit": 0,  # another try is another attempt, with an epoch of its own
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": KEEP_SECONDS,
            "suspend": settings.queue is not None,
            "template": {"metadata": {"labels": labels | _identity(settings)}, "spec": _pod(work, target)},
        },
    }


def secret(work: Work, target: PodTarget) -> dict[str, Any]:
    """The attempt's own token. It is worth nothing once the attempt has ended."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": work.name, "namespace": target.namespace, "labels": _labels(work, target)},
        "type": "Opaque",
        "immutable": True,
        "stringData": {"token": work.token},
    }


def service(work: Work, target: PodTarget) -> dict[str, Any]:
    """The headless service that gives the nodes names: `<name>-<index>.<name>`, before they are ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": work.name, "namespace": target.namespace, "labels": _labels(work, target)},
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {JOB_NAME: work.name}},
    }


def network_policy(work: Work, target: PodTarget) -> dict[str, Any]:
    """Lets the nodes of this work reach each other, and nobody else reach them."""
    own = {"matchLabels": {JOB_NAME: work.name}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": work.name, "namespace": target.namespace, "labels": _labels(work, target)},
        "spec": {"podSelector": own, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": own}]}]},
    }


def deletion(policy: str) -> dict[str, Any]:
    """The options of a deletion: dependents before their owner (Foreground) or after it (Background)."""
    return {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}


def owned_by(name: str, uid: str) -> dict[str, Any]:
    """The patch that makes an object go with its Job."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}
    return {"metadata": {"ownerReferences": [owner]}}


def _labels(work: Work, target: PodTarget) -> dict[str, str]:
    return {
        **target.settings.labels,
        "app.kubernetes.io/managed-by": "neutrino",
        POOL_LABEL: target.pool,
        **work.labels,
    }


def _identity(settings: PodSettings) -> dict[str, str]:
    """Azure gives a pod its identity only with this label.

    Source: https://azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html
    """
    return {"azure.workload.identity/use": "true"} if settings.preset == "aks" and settings.service_account else {}


def _check_secrets(work: Work, settings: PodSettings) -> None:
    for wanted in work.secrets.values():
        name = wanted.partition("/")[0]
        if name not in settings.secrets:
            allowed = ", ".join(settings.secrets) or "none"
            raise WorkRefused(
                f"The pool does not let jobs read the Secret {name}; it lets them read {allowed}.",
                hint="A platform engineer names it in the pool's `secrets`.",
            )


def _pod(work: Work, target: PodTarget) -> dict[str, Any]:
    settings, gpu = target.settings, work.gpu.type if work.gpu else None
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": int(work.grace),
        "activeDeadlineSeconds": int(work.deadline),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": tolerations(settings, gpu),
        "volumes": [
            {"name": "token", "secret": {"secretName": work.name, "defaultMode": 0o440}},
            {"name": "work", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(settings.shm)}},
        ],
        "containers": [_container(work, target)],
    }
    if settings.store_claim:
        pod["volumes"].append({"name": "store", "persistentVolumeClaim": {"claimName": settings.store_claim}})
    optional = {
        "affinity": _affinity(settings, gpu),
        "subdomain": work.name if work.nodes > 1 else None,
        "nodeSelector": settings.node_selector,
        "priorityClassName": settings.priority_class,
        "runtimeClassName": settings.runtime_class,
        "serviceAccountName": settings.service_account,
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
    }
    return pod | {name: value for name, value in optional.items() if value}


def _affinity(settings: PodSettings, gpu: str | None) -> dict[str, Any]:
    affinity: dict[str, Any] = {}
    if terms := node_terms(settings, gpu):
        affinity["nodeAffinity"] = {_REQUIRED: {"nodeSelectorTerms": terms}}
    if settings.beside:
        term = {"labelSelector": {"matchLabels": settings.beside}, "topologyKey": "kubernetes.io/hostname"}
        affinity["podAffinity"] = {_REQUIRED: [term]}
    return affinity


def _container(work: Work, target: PodTarget) -> dict[str, Any]:
    settings = target.settings
    fixed = {
        "HOME": WORK_FOLDER,
        "TMPDIR": "/tmp",  # noqa: S108 - a volume of the pod's own
        "NEUTRINO_DATA_DIR": WORK_FOLDER,
        "NEUTRINO_TOKEN_FILE": f"{TOKEN_FOLDER}/token",
        "NEUTRINO_LAST_WORDS": LAST_WORDS,
        "NEUTRINO_NODES": str(work.nodes),
        "NEUTRINO_GPUS": str(work.gpu.per_node) if work.gpu else "",
        "NEUTRINO_SECRETS": ",".join(sorted(work.secrets)),
        "NEUTRINO_MASTER": f"{work.name}-0.{work.name}" if work.nodes > 1 else "",
    }
    env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in ({**work.env, **fixed}).items()]
    env += [_from_secret(name, wanted) for name, wanted in work.secrets.items()]
    env.append({"name": "NEUTRINO_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}})
    store_secret, store_claim = settings.store_secret, settings.store_claim
    return {
        "name": "job",
        "image": work.image or target.image,
        "command": list(work.command),
        "env": env,
        **({"envFrom": [{"secretRef": {"name": store_secret}}]} if store_secret else {}),
        "workingDir": WORK_FOLDER,
        "resources": _resources(work, target.settings),
        "terminationMessagePath": LAST_WORDS,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True},
            {"name": "work", "mountPath": WORK_FOLDER},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
            *([{"name": "store", "mountPath": STORE_FOLDER}] if store_claim else []),
        ],
    }


def _resources(work: Work, settings: PodSettings) -> Mapping[str, Mapping[str, str]]:
    """Requests and limits alike: a pod gets what it asked for, and the scheduler counts with the same. Only a limit of
    less than one CPU is raised to that, because our own process has to start under it as well."""
    cpu = max(int(work.cpu * 1000), 1)
    amounts = {"cpu": f"{cpu}m", "memory": str((work.memory or settings.memory) + OVERHEAD)}
    if work.gpu:
        amounts[gpu_resource(work.gpu.type)] = str(work.gpu.per_node)
    return {"requests": amounts, "limits": amounts | {"cpu": f"{max(cpu, LEAST_CPU_LIMIT)}m"}}


def _from_secret(variable: str, wanted: str) -> dict[str, Any]:
    name, _, key = wanted.partition("/")
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}

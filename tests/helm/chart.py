"""The chart, rendered without a cluster, and the values that it is rendered with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).parents[2] / "helm" / "neutrino"
NAME = "neutrino"
NAMESPACE = "ml"

_EVERYTHING: dict[str, Any] = {
    "images": {
        "registry": "registry.example.com/team",
        "pullSecrets": ["pull"],
        "worker": {"digest": "sha256:" + "a" * 64},
    },
    "priorityClassName": "high",
    "podLabels": {"team": "vision"},
    "podAnnotations": {"example.com/a": "b"},
    "extraEnv": [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "NEUTRINO_LOG_LEVEL", "value": "DEBUG"},
    ],
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}, "data": {"a": "b"}}
    ],
    "api": {
        "autoscaling": {"enabled": True},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://other:3128"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    },
    "pools": {
        "local": {
            "kind": "workers",
            "autoscaling": {"enabled": True},
            "extraEnv": [{"name": "NEUTRINO_SLOTS", "value": "9"}],
        },
        "l4": {
            "kind": "workers",
            "cloud": "gcp",
            "region": "us-central1",
            "gpu": "L4:1",
            "spot": True,
            "usdPerHour": 0.35,
            "slots": 1,
        },
        "a100": {"kind": "pods", "cloud": "aws", "gpu": "A100:8", "pods": {"spot": True, "maxNodes": 4, "shm": "8Gi"}},
        "far": {"kind": "pods", "cluster": "europe", "apiUrl": "https://far.example.com"},
        "own": {"kind": "pods", "cluster": "own"},
    },
    "clusters": {
        "europe": {"kind": "gke", "cluster": "lab", "region": "europe-west4", "project": "p", "namespace": "neutrino"},
        "own": {"kind": "kubeconfig", "existingSecret": "own-cluster", "context": "admin"},
    },
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": ["neutrino.example.com"],
        "tls": [{"secretName": "tls", "hosts": ["neutrino.example.com"]}],
    },
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["neutrino.example.com"]},
    "monitoring": {name: {"enabled": True} for name in ("serviceMonitor", "prometheusRule", "grafanaDashboard")},
    "networkPolicy": {"apiFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]},
}

MATRIX: dict[str, dict[str, Any]] = {
    "bare": {},
    "everything": _EVERYTHING,
    "external": {
        "auth": {"existingSecret": "tokens"},
        "postgres": {"existingSecret": "database", "existingSecretKey": "DATABASE_URL"},
        "redis": {"existingSecret": "broker"},
        "store": {"uri": "s3://bucket/prefix", "existingSecret": "keys"},
        "jobs": {"namespace": "ml-jobs", "createNamespace": True},
        "test": {"pool": "local"},
    },
    "eks": {
        "store": {"uri": "s3://bucket?region=us-east-1"},
        "identity": {"aws": {"roleArn": "arn:aws:iam::123456789012:role/neutrino"}},
        "pools": {"t4": {"kind": "workers", "cloud": "aws", "gpu": "T4", "spot": True, "replicas": 3}},
    },
    "gke": {
        "store": {"uri": "gs://bucket"},
        "identity": {"gcp": {"serviceAccount": "neutrino@project.iam.gserviceaccount.com"}},
        "pools": {"local": None, "h100": {"kind": "pods", "cloud": "gcp", "gpu": "H100:8"}},
    },
    "aks": {
        "store": {"uri": "az://container?account=account"},
        "identity": {"azure": {"clientId": "0f9e3a52-1111-2222-3333-444455556666"}},
        "pools": {"a100": {"kind": "workers", "cloud": "azure", "gpu": "A100:1", "nodeSelector": {"agentpool": "gpu"}}},
    },
    "shared-volume": {
        "store": {"volume": {"accessMode": "ReadWriteMany", "existingClaim": "nfs"}},
        "pools": {"pods": None},
    },
    "open": {
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "nameOverride": "brain",
        "fullnameOverride": "a-name-that-is-much-too-long-for-all-that-follows-it",
        "pools": {"a-name-as-long-as-it": {"kind": "workers"}, "b-name-as-long-as-it": {"kind": "pods"}},
    },
}
# What is there before the release, by the values above.
GIVEN_SECRETS = {"tokens", "database", "broker", "keys", "pull", "tls", "own-cluster"}
GIVEN_CLAIMS = {"nfs"}

Object = dict[str, Any]


@dataclass(frozen=True)
class Release:
    """What Helm would send to a cluster."""

    objects: tuple[Object, ...]
    notes: str

    def of(self, *kinds: str) -> list[Object]:
        """The objects of some kinds."""
        return [one for one in self.objects if one["kind"] in kinds]

    def one(self, kind: str, name: str) -> Object:
        """The object of that name."""
        (found,) = [one for one in self.of(kind) if one["metadata"]["name"] == name]
        return found

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Every pod or template of one, with what it belongs to."""
        for one in self.objects:
            where = f"{one['kind']}/{one['metadata']['name']}"
            if one["kind"] == "Pod":
                yield where, one
            elif "template" in one.get("spec", {}) and one["kind"] in {"Deployment", "StatefulSet", "Job"}:
                yield where, one["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    """All containers of a pod, the first ones first."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def read(manifests: Mapping[str, str]) -> Release:
    """The objects in what Helm rendered."""
    notes = "".join(text for path, text in manifests.items() if path.endswith("NOTES.txt"))
    texts = [text for path, text in sorted(manifests.items()) if path.endswith(".yaml")]
    return Release(tuple(one for text in texts for one in yaml.safe_load_all(text) if one), notes)


def render(values: Mapping[str, Any], *, revision: int = 1) -> Release:
    """Render the chart. Raises what Helm raises."""
    chart = helm_python.Chart.load(CHART)
    return read(chart.render(dict(values), name=NAME, namespace=NAMESPACE, revision=revision))


@cache
def rendered(case: str) -> Release:
    """A case of the matrix, rendered once."""
    return render(MATRIX[case])

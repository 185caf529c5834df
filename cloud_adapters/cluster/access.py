"""From a reference to an open cluster. We keep no credential: each kind of cluster has an identity to ask for one.

`eks`, `gke` and `aks` are opened with the ambient identity of their cloud (a role of the pod, of the machine, or of the
person at the keyboard), `incluster` with the service account of this pod, `kubeconfig` with whatever that file says.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from kubernetes import config
from kubernetes.client import ApiClient, Configuration

from cloud_adapters.access import Endpoint
from cloud_adapters.cluster import kubeconfig
from cloud_adapters.cluster.api import KubeApi
from cloud_adapters.compute_errors import BadReference
from orchestrator.domain.pods import ClusterKind, ClusterRef

_NAMESPACE = "neutrino"
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_CONNECTIONS = 16
_PROVIDERS = {ClusterKind.EKS: "eks", ClusterKind.GKE: "gke", ClusterKind.AKS: "aks"}


def open_cluster(ref: ClusterRef) -> tuple[KubeApi, str]:
    """The API of a cluster, and the namespace for our pods. The cluster itself is not contacted yet; the cloud's API
    may be. Raises BadReference, ComputeDenied and ComputeUnavailable."""
    settings = Configuration()
    openers: dict[ClusterKind, Callable[[ClusterRef, Configuration], str | None]] = {
        ClusterKind.INCLUSTER: _incluster,
        ClusterKind.KUBECONFIG: kubeconfig.load,
    }
    own_namespace = openers.get(ref.kind, _provider)(ref, settings)
    settings.retries = False
    settings.connection_pool_maxsize = _CONNECTIONS
    return KubeApi(ApiClient(settings)), ref.namespace or own_namespace or _NAMESPACE


def _incluster(_ref: ClusterRef, settings: Configuration) -> str | None:
    try:
        config.load_incluster_config(client_configuration=settings)
    except config.ConfigException as error:
        raise BadReference(
            f"This process does not run in a cluster: {error}.", hint="Name the cluster by its kubeconfig instead."
        ) from error
    return _OWN_NAMESPACE.read_text("ascii").strip() if _OWN_NAMESPACE.exists() else None


@functools.cache
def _authorities() -> tempfile.TemporaryDirectory[str]:
    """The certificates of the clusters that this process has opened; it goes with the process."""
    return tempfile.TemporaryDirectory(prefix="neutrino-ca-")


def _provider(ref: ClusterRef, settings: Configuration) -> None:
    endpoint: Endpoint = import_module(f"cloud_adapters.providers.{_PROVIDERS[ref.kind]}").find(ref)
    settings.host = endpoint.server
    authority = base64.b64decode(endpoint.ca)
    file = Path(_authorities().name, f"{hashlib.sha256(authority).hexdigest()}.pem")
    file.write_bytes(authority)
    settings.ssl_ca_cert = str(file)
    settings.api_key_prefix["authorization"] = "Bearer"

    def refresh(current: Configuration) -> None:
        current.api_key["authorization"] = endpoint.token()

    settings.refresh_api_key_hook = refresh
    refresh(settings)

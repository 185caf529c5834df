"""Clusters of Azure Kubernetes Service, opened with the ambient identity of Azure: no key is kept.

The listing of user credentials tells where the cluster is; of what else it holds nothing is used, because the token is
Entra's, for the well-known application of AKS.
Sources: https://learn.microsoft.com/rest/api/aks/managed-clusters/list-cluster-user-credentials
and https://azure.github.io/kubelogin/concepts/aks.html
"""

from __future__ import annotations

import base64
import os
from typing import Any

import yaml
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.identity import CredentialUnavailableError, DefaultAzureCredential

from cloud_adapters.access import Endpoint, Renewed
from cloud_adapters.compute_errors import ComputeDenied, ComputeUnavailable
from cloud_adapters.managed import ask
from orchestrator.domain.pods import ClusterRef

_API = "https://management.azure.com"
_VERSION = "2024-09-01"
_SERVER_APP = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
_HINT = (
    "The launcher's identity needs the roles Azure Kubernetes Service Cluster User and RBAC Writer, and the cluster"
    " Entra integration."
)


def find(ref: ClusterRef) -> Endpoint:
    """Ask Azure where a cluster is. Raises BadReference, ComputeDenied and ComputeUnavailable."""
    credential = DefaultAzureCredential()
    where = (
        f"subscriptions/{ref.project}/resourceGroups/{ref.resource_group}"
        f"/providers/Microsoft.ContainerService/managedClusters/{ref.cluster}"
    )
    cluster = describe(where, _token(credential, f"{_API}/.default")[0])
    return Endpoint(
        server=cluster["server"],
        ca=cluster["certificate-authority-data"],
        token=Renewed(lambda: _token(credential, _SERVER_APP)),
    )


def _token(credential: Any, scope: str) -> tuple[str, float]:
    try:
        token = credential.get_token(scope)
    except (ClientAuthenticationError, CredentialUnavailableError) as error:
        raise ComputeDenied(f"Azure gives no token: {error.message}", hint=_HINT) from error
    except AzureError as error:
        raise ComputeUnavailable(f"Azure cannot be asked for a token: {error.message}") from error
    return str(token.token), float(token.expires_on)


def describe(where: str, token: str) -> dict[str, Any]:
    """The cluster's entry in the kubeconfig that Azure gives."""
    api = os.environ.get("AZURE_RESOURCE_MANAGER_URL", _API).rstrip("/")
    url = f"{api}/{where}/listClusterUserCredential?api-version={_VERSION}&format=exec"
    answer = ask("Azure", where, "POST", url, token, listing="az aks list", needs=_HINT)
    kubeconfig = yaml.safe_load(base64.b64decode(answer["kubeconfigs"][0]["value"]))
    cluster: dict[str, Any] = kubeconfig["clusters"][0]["cluster"]
    return cluster

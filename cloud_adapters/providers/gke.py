"""Clusters of Google Kubernetes Engine, opened with the ambient identity of Google Cloud: no key is kept.

Source: https://cloud.google.com/kubernetes-engine/docs/reference/rest/v1/projects.locations.clusters/get
"""

from __future__ import annotations

import os
from datetime import UTC
from typing import Any

import google.auth
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request

from cloud_adapters.access import Endpoint, Renewed
from cloud_adapters.compute_errors import ComputeDenied, ComputeUnavailable
from cloud_adapters.managed import ask
from orchestrator.domain.pods import ClusterRef

_API = "https://container.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_HINT = "The launcher's service account needs the role roles/container.developer."


def find(ref: ClusterRef) -> Endpoint:
    """Ask GKE where a cluster is. Raises BadReference, ComputeDenied and ComputeUnavailable."""
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except GoogleAuthError as error:
        raise ComputeDenied(f"There is no identity of Google Cloud here: {error}", hint=_HINT) from error
    token = Renewed(lambda: _token(credentials))
    where = f"projects/{ref.project}/locations/{ref.region}/clusters/{ref.cluster}"
    cluster = describe(where, token())
    return Endpoint(
        server=f"https://{cluster['endpoint']}", ca=cluster["masterAuth"]["clusterCaCertificate"], token=token
    )


def _token(credentials: Any) -> tuple[str, float]:
    try:
        credentials.refresh(Request())
    except TransportError as error:
        raise ComputeUnavailable(f"Google Cloud cannot be asked for a token: {error}") from error
    except GoogleAuthError as error:
        raise ComputeDenied(f"Google Cloud gives no token: {error}", hint=_HINT) from error
    return str(credentials.token), credentials.expiry.replace(tzinfo=UTC).timestamp()


def describe(where: str, token: str) -> dict[str, Any]:
    """The cluster as GKE's API describes it."""
    api = os.environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER", _API).rstrip("/")
    found: dict[str, Any] = ask(
        "GKE", where, "GET", f"{api}/v1/{where}", token, listing="gcloud container clusters list", needs=_HINT
    )
    return found

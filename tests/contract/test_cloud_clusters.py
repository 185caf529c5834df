"""Clusters of GKE and AKS are found with the ambient identity, by the clouds' own libraries, from a server on loopback
that speaks their protocols."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cloud_adapters.compute_errors import BadReference, ComputeDenied
from cloud_adapters.providers import aks, gke
from orchestrator.domain.pods import ClusterKind, ClusterRef

_GKE_PATH = "/v1/projects/p/locations/europe-west4/clusters/lab"
_AKS_PATH = (
    "/subscriptions/s/resourceGroups/ml/providers/Microsoft.ContainerService/managedClusters/west"
    "/listClusterUserCredential"
)
_SERVER_APP = "6dae42f8-4368-4678-94ff-3960e28e3630"  # AKS' own application, for which Entra's tokens are made


class CloudApi:
    """Google's and Azure's token endpoints, and what their APIs say of one cluster each. `asked` holds every request:
    its path, its query, and the token that it bore."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, list[str]], str]] = []
        self.refuses_tokens = False
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api._answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                api._answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        self.asked.append((parts.path, parse_qs(parts.query), request.headers.get("Authorization", "")))
        status, body = self._body(parts.path, parse_qs(parts.query))
        data = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _body(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if path == "/google/token":
            return (400, {"error": "invalid_grant"}) if self.refuses_tokens else (200, _google_token())
        if path == "/msi/token":
            return (400, {"error": "no identity"}) if self.refuses_tokens else (200, _azure_token(query["resource"][0]))
        if path == _GKE_PATH:
            return 200, {"endpoint": "203.0.113.7", "masterAuth": {"clusterCaCertificate": "Q0E="}}
        if path == _AKS_PATH:
            cluster = {"server": "https://west.azmk8s.io:443", "certificate-authority-data": "Q0E="}
            config = json.dumps({"clusters": [{"name": "west", "cluster": cluster}]})  # JSON is YAML
            return 200, {"kubeconfigs": [{"name": "user", "value": base64.b64encode(config.encode()).decode()}]}
        return 404, {"error": {"message": "not found"}}


def _google_token() -> dict[str, Any]:
    return {"access_token": "google-token", "expires_in": 3600, "token_type": "Bearer"}


def _azure_token(resource: str) -> dict[str, Any]:
    return {"access_token": f"for {resource}", "expires_on": "4102444800", "resource": resource, "token_type": "Bearer"}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudApi]:
    api = CloudApi()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "launcher@p.iam.gserviceaccount.com",
        "token_uri": f"{api.url}/google/token",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER", api.url)
    for variable in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "MSI_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    # What Azure gives to a place with a managed identity: https://learn.microsoft.com/azure/app-service/overview-managed-identity
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{api.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "here")
    monkeypatch.setenv("AZURE_RESOURCE_MANAGER_URL", api.url)
    yield api
    api.close()


def lab(name: str = "lab") -> ClusterRef:
    return ClusterRef(kind=ClusterKind.GKE, cluster=name, project="p", region="europe-west4")


def west(name: str = "west") -> ClusterRef:
    return ClusterRef(kind=ClusterKind.AKS, cluster=name, project="s", resource_group="ml")


def test_gke_is_found_and_opened_with_a_service_account(api: CloudApi) -> None:
    found = gke.find(lab())
    assert (found.server, found.ca, found.token()) == ("https://203.0.113.7", "Q0E=", "google-token")
    assert (_GKE_PATH, {}, "Bearer google-token") in api.asked
    with pytest.raises(BadReference, match="GKE has no cluster projects/p/locations/europe-west4/clusters/none"):
        gke.find(lab("none"))


def test_aks_is_found_and_opened_with_a_managed_identity(api: CloudApi) -> None:
    found = aks.find(west())
    assert (found.server, found.ca) == ("https://west.azmk8s.io:443", "Q0E=")
    assert found.token() == f"for {_SERVER_APP}"
    described = [(query, token) for path, query, token in api.asked if path == _AKS_PATH]
    query = {"api-version": ["2024-09-01"], "format": ["exec"]}
    assert described == [(query, "Bearer for https://management.azure.com")]
    with pytest.raises(BadReference, match="Azure has no cluster subscriptions/s/resourceGroups/ml"):
        aks.find(west("none"))


def test_an_identity_that_is_not_trusted_is_told(api: CloudApi) -> None:
    api.refuses_tokens = True
    with pytest.raises(ComputeDenied, match="Google Cloud gives no token"):
        gke.find(lab())
    with pytest.raises(ComputeDenied, match="Azure gives no token"):
        aks.find(west())

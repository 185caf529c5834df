"""A real API server, where there is one: etcd and kube-apiserver from the folder $KUBEBUILDER_ASSETS, or the cluster of
$KUBECONFIG if it has the namespace `neutrino-test`."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cloud_adapters.cluster.access import open_cluster
from cloud_adapters.cluster.api import KubeApi
from cloud_adapters.compute_errors import ComputeError
from orchestrator.domain.pods import ClusterKind, ClusterRef

NAMESPACE = "neutrino-test"
ASSETS = os.environ.get("KUBEBUILDER_ASSETS")
KUBECONFIG = os.environ.get("KUBECONFIG")
_PATIENCE = 60.0
_TOKEN = "envtest-token"


def open_real() -> tuple[KubeApi, str] | None:
    """The cluster of $KUBECONFIG; None when there is none, or it has no namespace for tests."""
    if not KUBECONFIG:
        return None
    api, _ = open_cluster(ClusterRef(kind=ClusterKind.KUBECONFIG))
    try:
        api.call("GET", f"/api/v1/namespaces/{NAMESPACE}")
    except ComputeError:
        return None
    return api, NAMESPACE


@contextmanager
def started(folder: Path) -> Iterator[tuple[KubeApi, str]]:
    """etcd and kube-apiserver, with our namespace. There are no controllers: what is made stays as it is."""
    assert ASSETS is not None
    client, peer, port = (_free_port() for _ in range(3))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (folder / "sa.key").write_bytes(pem)
    (folder / "tokens.csv").write_text(f'{_TOKEN},admin,1,"system:masters"\n')
    etcd = [
        f"{ASSETS}/etcd",
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
    ]
    server = [
        f"{ASSETS}/kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{client}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder}/certs",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://neutrino.test",
        f"--service-account-key-file={folder}/sa.key",
        f"--service-account-signing-key-file={folder}/sa.key",
        "--disable-admission-plugins=ServiceAccount",
    ]
    with (folder / "log").open("wb") as log:
        processes = [subprocess.Popen(command, stdout=log, stderr=log) for command in (etcd, server)]
    try:
        yield _api(folder, port), NAMESPACE
    finally:
        for process in reversed(processes):
            process.kill()  # asked gently, the server would wait a minute for watches that are open
            process.wait(20)


def _api(folder: Path, port: int) -> KubeApi:
    path, authority = folder / "kubeconfig", folder / "certs" / "apiserver.crt"
    deadline = time.monotonic() + _PATIENCE
    while not authority.exists():  # it makes its own
        assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
        time.sleep(0.1)
    path.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: "{authority}"}}}}]
users: [{{name: admin, user: {{token: {_TOKEN}}}}}]
contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]
"""
    )
    api, _ = open_cluster(ClusterRef(kind=ClusterKind.KUBECONFIG, kubeconfig=str(path)))
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    while True:
        try:
            api.call("POST", "/api/v1/namespaces", namespace)
        except ComputeError:
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        else:
            return api


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port

"""An API server whose certificate another authority has signed."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloud_adapters.cluster.access import open_cluster
from cloud_adapters.compute_errors import ComputeUnavailable
from orchestrator.domain.pods import ClusterKind, ClusterRef


def signed_by_itself(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*signed_by_itself(tmp_path, "theirs"))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, suppress(OSError), context.wrap_socket(connection, server_side=True):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_cluster_of_another_authority_is_named(server: str, tmp_path: Path) -> None:
    ours, _ = signed_by_itself(tmp_path, "ours")
    path = tmp_path / "kubeconfig"
    path.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: "{server}", certificate-authority: "{ours}"}}}}]
users: [{{name: tester, user: {{token: t}}}}]
contexts: [{{name: test, context: {{cluster: test, user: tester}}}}]
"""
    )
    api, _ = open_cluster(ClusterRef(kind=ClusterKind.KUBECONFIG, kubeconfig=str(path)))
    with pytest.raises(ComputeUnavailable, match=r"cannot be trusted: .*certificate verify failed") as told:
        api.call("GET", "/version")
    assert "another cluster's" in (told.value.hint or "")

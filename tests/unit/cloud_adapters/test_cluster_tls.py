"""API servers that cannot be trusted, and credentials that they do not know."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloud_adapters.cluster.access import open_cluster
from cloud_adapters.cluster.api import KubeApi
from cloud_adapters.compute_errors import ComputeError
from orchestrator.domain.pods import ClusterKind, ClusterRef


def signed_by_itself(folder: Path, name: str, days: int = 1, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """A certificate that ends in so many days, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret


@contextmanager
def serving(certificate: Path, key: Path, answer: bytes = b"") -> Iterator[str]:
    """Something that speaks TLS, and says `answer` to whatever is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def opened(folder: Path, server: str, authority: Path, user: str = "token: t") -> KubeApi:
    path = folder / "kubeconfig"
    path.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: "{server}", certificate-authority: "{authority}"}}}}]
users: [{{name: tester, user: {{{user}}}}}]
contexts: [{{name: test, context: {{cluster: test, user: tester}}}}]
"""
    )
    return open_cluster(ClusterRef(kind=ClusterKind.KUBECONFIG, kubeconfig=str(path)))[0]


def test_a_cluster_of_another_authority_is_named(tmp_path: Path) -> None:
    ours, _ = signed_by_itself(tmp_path, "ours")
    with serving(*signed_by_itself(tmp_path, "theirs")) as server:
        told = refused(opened(tmp_path, server, ours))
    assert "certificate verify failed" in told.message
    assert "another cluster's" in (told.hint or "")


@pytest.mark.parametrize(
    ("days", "address", "fix"),
    [(-1, "127.0.0.1", "itself has ended"), (1, "10.0.0.1", "names other addresses")],
)
def test_a_certificate_that_does_not_hold_is_named(tmp_path: Path, days: int, address: str, fix: str) -> None:
    theirs = signed_by_itself(tmp_path, "theirs", days, address)
    with serving(*theirs) as server:
        told = refused(opened(tmp_path, server, theirs[0]))
    assert fix in (told.hint or "")


def test_credentials_that_have_ended_are_named_with_the_time(tmp_path: Path) -> None:
    theirs, (old, key) = signed_by_itself(tmp_path, "theirs"), signed_by_itself(tmp_path, "old", -2)
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1700000000}).encode()).decode().rstrip("=")
    with serving(*theirs, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n") as server:
        token = refused(opened(tmp_path, server, theirs[0], f"token: a.{claims}.c"))
        certificate = refused(opened(tmp_path, server, theirs[0], f"client-certificate: {old}, client-key: {key}"))
        unknown = refused(opened(tmp_path, server, theirs[0]))
    assert "They ended at 2023-11-14 22:13 UTC." in token.message
    assert "They ended at" in certificate.message
    assert "may have expired, or belong to another cluster" in (unknown.hint or "")


def test_what_is_no_api_server_is_named(tmp_path: Path) -> None:
    theirs = signed_by_itself(tmp_path, "theirs")
    with serving(*theirs, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>") as server:
        told = refused(opened(tmp_path, server, theirs[0]))
    assert "is not a Kubernetes API: '<html>'" in told.message


def refused(api: KubeApi) -> ComputeError:
    with pytest.raises(ComputeError) as told:
        api.call("GET", "/version")
    return told.value

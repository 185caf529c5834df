"""Addresses that are not stores, or that no store may use, are refused before anything is contacted."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cloud_adapters.addresses import check_endpoint, parse_store_uri
from cloud_adapters.errors import InvalidStore, StoreError
from cloud_adapters.registry import open_store


@pytest.mark.parametrize(
    "uri",
    [
        "", "nonsense", "s3://", "s3:///key", "s3://user:secret@bucket/x", "s3://bucket/../x", "s3://b/a//b",
        "s3://bucket/x#y", "s3://bucket?noequals", "file://relative/x", "file:relative", "nonsense://", "file:///x%00y",
        "gs://b:1/x", "s3://[broken/x",
    ],
)  # fmt: skip
def test_malformed_addresses(uri: str) -> None:
    with pytest.raises(InvalidStore):
        parse_store_uri(uri)


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "file:///etc", "file:///", "file:///tmp/../etc"])
def test_folders_outside_the_allowed_roots(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEUTRINO_FILE_ROOTS", raising=False)
    with pytest.raises(InvalidStore):
        open_store(uri)
    with pytest.raises(InvalidStore):
        open_store(uri, file_roots=[tmp_path])


def test_a_link_does_not_widen_the_root(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(InvalidStore):
        open_store((tmp_path / "link").as_uri(), file_roots=[tmp_path])


def test_the_environment_names_allowed_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUTRINO_FILE_ROOTS", f"/nowhere:{tmp_path}")
    assert open_store((tmp_path / "s").as_uri()).provider == "local"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254", "http://169.254.169.254:80/latest", "http://[fe80::1]", "http://[fd00:ec2::254]",
        "http://168.63.129.16", "http://100.100.100.200", "http://metadata.google.internal", "http://0.0.0.0:9000",
        "http://[::ffff:169.254.169.254]", "http://2852039166", "http://0xa9fea9fe", "http://0251.0376.0251.0376",
        "http://[64:ff9b::a9fe:a9fe]", "http://[2002:a9fe:a9fe::]", "http://[::a9fe:a9fe]", "http://192.0.0.192",
        "http://[::ffff:0:169.254.169.254]", "http://[fd20:ce::254]", "http://169.254.43518",
        "ftp://example.com", "http://user:pw@127.0.0.1", "http://", "nonsense", "http://127.0.0.1:99999", "http://[::]",
    ],
)  # fmt: skip
def test_endpoints_that_no_store_may_use(url: str) -> None:
    with pytest.raises(InvalidStore):
        check_endpoint(url)


def test_a_name_that_leads_to_a_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of its addresses is enough."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("93.184.216.34", "169.254.169.254")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    with pytest.raises(InvalidStore, match=r"169\.254\.169\.254"):
        check_endpoint("https://innocent.example")


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_no_store_is_led_elsewhere(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that redirects could lead to a metadata service after all: neither bytes nor control calls follow."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    paths: list[str] = []

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(307)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = open_store(f"{scheme}://bucket?endpoint=http://127.0.0.1:{server.server_port}/account").inner
        for call in (store.head, store.open):
            with pytest.raises(StoreError):
                call("key")
        server.shutdown()
    assert len(paths) >= 2
    assert not [path for path in paths if "elsewhere" in path]


@pytest.mark.parametrize(
    "uri",
    [
        "gs://b?endpoint=https://203.0.113.7",
        "gs://b?endpoint=https://googleapis.com.203.0.113.7",
        "az://b?endpoint=https://203.0.113.7/account",
        "az://b?endpoint=http://account.blob.core.windows.net",
    ],
)
@pytest.mark.parametrize("secret", ["AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"])
def test_only_the_provider_is_told_credentials(uri: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _only_azure(monkeypatch, secret)
    with pytest.raises(InvalidStore, match="gets no credentials"):
        open_store(uri)
    monkeypatch.setenv("NEUTRINO_CREDENTIAL_HOSTS", "other.example, 203.0.113.8")
    with pytest.raises(InvalidStore, match="gets no credentials"):
        open_store(uri)


def test_hosts_that_are_told_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    _only_azure(monkeypatch, "AZURE_STORAGE_SAS_TOKEN")
    for host in ("windows.net", "chinacloudapi.cn", "usgovcloudapi.net"):
        open_store(f"az://b?endpoint=https://account.blob.core.{host}")
    open_store("az://b?account=account")
    with pytest.raises(InvalidStore, match="gets no credentials"):
        open_store("az://b?endpoint=http://127.0.0.1:10000/account")
    monkeypatch.setenv("NEUTRINO_CREDENTIAL_HOSTS", "127.0.0.1,account.blob.core.stack.example")
    open_store("az://b?endpoint=http://127.0.0.1:10000/account")
    open_store("az://b?endpoint=https://account.blob.core.stack.example")
    _only_azure(monkeypatch, "AZURE_STORAGE_KEY")
    monkeypatch.delenv("NEUTRINO_CREDENTIAL_HOSTS")
    open_store("az://b?endpoint=http://127.0.0.1:10000/account")


def _only_azure(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    for name in ("CONNECTION_STRING", "KEY", "SAS_TOKEN", "ACCOUNT"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    monkeypatch.setenv(secret, "a2V5")
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_args, **_options: [(socket.AF_INET, 1, 6, "", ("203.0.113.7", 443))]
    )


@pytest.mark.parametrize("account", ["203.0.113.7/x", "203.0.113.7%23", "203.0.113.7%3F", "evil.example%5C", "a@b"])
def test_an_account_is_a_name(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _only_azure(monkeypatch, "AZURE_STORAGE_KEY")
    with pytest.raises(InvalidStore, match="not the name of a storage account"):
        open_store(f"az://b?account={account}")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_loopback_is_an_endpoint(host: str) -> None:
    assert check_endpoint(f"http://{host}:9000/") == f"http://{host}:9000"


def test_unknown_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidStore, match="'colour'"):
        open_store(tmp_path.as_uri() + "?colour=red", file_roots=[tmp_path])

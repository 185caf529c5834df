"""Addresses that are not stores, or that no store may use, are refused before anything is contacted."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_adapters.addresses import check_endpoint, parse_store_uri
from cloud_adapters.errors import InvalidStore
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
        "ftp://example.com", "http://user:pw@127.0.0.1", "http://", "nonsense", "http://127.0.0.1:99999", "http://[::]",
    ],
)  # fmt: skip
def test_endpoints_that_no_store_may_use(url: str) -> None:
    with pytest.raises(InvalidStore):
        check_endpoint(url)


def test_loopback_is_an_endpoint() -> None:
    assert check_endpoint("http://127.0.0.1:9000/") == "http://127.0.0.1:9000"


def test_unknown_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidStore, match="'colour'"):
        open_store(tmp_path.as_uri() + "?colour=red", file_roots=[tmp_path])

"""Models and artifacts through the API: what is downloaded is what was published, or nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from cloud_adapters.artifacts import publish, read_manifest
from cloud_adapters.registry import open_store
from orchestrator.api import reading
from orchestrator.domain.transfer import Place
from orchestrator.scheduler.dispatcher import dispatch
from orchestrator.store.session import Database
from tests.integration.api.client import DOCUMENT, Api

CONTENT = b"weights" * 1000


@pytest.fixture
def published(api: Api, tmp_path: Path) -> dict[str, Any]:
    """A model that a job has trained: its artifact, and the folder where its files lie in the store."""
    folder = tmp_path / "output"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(CONTENT)
    (folder / "sub" / "empty.txt").write_bytes(b"")
    worker = api.worker()
    job = api.submit(json=DOCUMENT | {"spec": {"command": ["true"], "outputs": {"model": "digits"}}})
    dispatch(api.database)
    claimed = api("POST", "/v1/worker/claim", "worker", json={"worker": worker, "slots": 1}).json()
    (lease,) = claimed["leases"]
    uri = (tmp_path / "store").as_uri()
    prefix = f"{lease['prefix']}/output"
    manifest = publish(open_store(uri), prefix, folder)
    output = {"store": uri, "prefix": prefix, "digest": manifest.digest, "size": manifest.size, "files": 2}
    report = {"attempt": lease["attempt"], "reason": "succeeded", "output": output}
    done = api("POST", "/v1/worker/report", "worker", json={"worker": worker, "reports": [report]})
    assert done.json()["lost"] == []
    version: dict[str, Any] = api("GET", "/v1/models/digits/latest", "viewer").json()
    assert version["lineage"]["job"] == job
    assert api("GET", f"/v1/jobs/{job}").json()["model"] == "digits@1"
    return {**version["artifact"], "folder": tmp_path / "store" / prefix, "job": job}


def test_a_file_is_downloaded_with_the_hash_to_compare_it_with(api: Api, published: dict[str, Any]) -> None:
    answer = api("GET", f"/v1/artifacts/{published['id']}/files/model.safetensors", "viewer")
    assert answer.status_code == 200
    assert answer.content == CONTENT
    assert answer.headers["x-content-sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert api("GET", f"/v1/artifacts/{published['id']}/files/sub/empty.txt", "viewer").content == b""


def test_a_long_download_goes_on_while_the_database_is_away(
    published: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONG_SECONDS", 0.0)
    prefix = published["folder"].relative_to(tmp_path / "store").as_posix()
    place = Place(store=published["replicas"][0]["store"], prefix=prefix)
    away = Database("postgresql://nobody@127.0.0.1:1/none")
    copy = reading.Copy(away, 1, published["id"], place)
    _, body = copy.stream(read_manifest(open_store(place.store), place.prefix), "model.safetensors")
    assert b"".join(body) == CONTENT


def test_an_artifact_shows_its_manifest_and_its_replicas(api: Api, published: dict[str, Any]) -> None:
    detail = api("GET", f"/v1/artifacts/{published['id']}").json()
    assert [file["path"] for file in detail["manifest"]["files"]] == ["model.safetensors", "sub/empty.txt"]
    assert [replica["store"] for replica in detail["replicas"]] == [published["replicas"][0]["store"]]
    assert detail["size"] == len(CONTENT)
    listed = api("GET", f"/v1/artifacts?job={published['job']}").json()["items"]
    assert [one["id"] for one in listed] == [published["id"]]


def test_a_tampered_manifest_is_a_bad_gateway_and_no_byte_is_read(api: Api, published: dict[str, Any]) -> None:
    path = published["folder"] / "manifest.json"
    manifest = path.read_bytes()
    for tampered in (manifest.replace(b'"size":7000', b'"size":7001'), b"{}", b"not JSON", b'{"files": 1}'):
        assert tampered != manifest
        path.write_bytes(tampered)
        for what in ("", "/files/model.safetensors"):
            answer = api("GET", f"/v1/artifacts/{published['id']}{what}")
            assert (answer.status_code, answer.json()["code"]) == (502, "corrupt_artifact"), tampered
    path.write_bytes(manifest)
    assert api("GET", f"/v1/artifacts/{published['id']}").status_code == 200


@pytest.mark.parametrize("path", ["model.safetensor", "manifest.json", "../output/model.safetensors", "sub"])
def test_a_file_that_the_manifest_does_not_name_is_not_there(api: Api, published: dict[str, Any], path: str) -> None:
    answer = api("GET", f"/v1/artifacts/{published['id']}/files/{path.replace('..', '%2e%2e')}")
    assert answer.status_code == 404


def test_a_mistyped_file_brings_the_nearest_name(api: Api, published: dict[str, Any]) -> None:
    answer = api("GET", f"/v1/artifacts/{published['id']}/files/model.safetensor")
    assert answer.json()["hint"] == "Did you mean 'model.safetensors'?"


def test_another_workspace_finds_neither_artifact_nor_model(api: Api, published: dict[str, Any]) -> None:
    for path in (
        f"/v1/artifacts/{published['id']}",
        f"/v1/artifacts/{published['id']}/files/model.safetensors",
        "/v1/models/digits",
        "/v1/models/digits/1",
    ):
        assert api("GET", path).status_code == 200
        assert api("GET", path, "stranger").status_code == 404
    assert api("GET", "/v1/models", "stranger").json()["items"] == []


def test_versions_are_numbers_or_latest(api: Api, published: dict[str, Any]) -> None:
    for version in ("0", "2", "newest", "-1", "1e3", "9" * 30):
        assert api("GET", f"/v1/models/digits/{version}").status_code == 404
    assert api("GET", "/v1/models/digits/1").json()["ref"] == "digits@1"


def test_an_upload_outside_of_the_attempts_own_prefix_is_refused(api: Api, published: dict[str, Any]) -> None:
    """Otherwise an attempt could make another workspace's artifact its own, or have it deleted as superseded."""
    worker = api.worker("other")
    job = api.submit()
    dispatch(api.database)
    claimed = api("POST", "/v1/worker/claim", "worker", json={"worker": worker, "slots": 1}).json()
    (lease,) = claimed["leases"]
    stolen = {"store": "file:///s", "digest": "0" * 64, "size": 1, "files": 1}
    for prefix in ("elsewhere", "artifacts/1/j-1.1/output", lease["prefix"], f"{lease['prefix']}1/output"):
        artifact = stolen | {"prefix": prefix}
        published_ = {"attempt": lease["attempt"], "step": 1, "artifact": artifact}
        answer = api("POST", "/v1/worker/checkpoint", lease["token"], json=published_)
        assert answer.status_code == 422, prefix
        report = {"attempt": lease["attempt"], "reason": "succeeded", "output": artifact}
        answer = api("POST", "/v1/worker/report", lease["token"], json={"worker": worker, "reports": [report]})
        assert answer.status_code == 422, prefix
    elsewhere = stolen | {"store": "s3://not-the-pools-own", "prefix": f"{lease['prefix']}/output"}
    for body in (
        {"attempt": lease["attempt"], "step": 1, "artifact": elsewhere},
        {"worker": worker, "reports": [{"attempt": lease["attempt"], "reason": "succeeded", "output": elsewhere}]},
    ):
        route = "/v1/worker/checkpoint" if "step" in body else "/v1/worker/report"
        assert api("POST", route, lease["token"], json=body).status_code == 422
    assert api("GET", f"/v1/jobs/{job}").json()["state"] == "RUNNING"


def test_where_an_artifact_lies(api: Api, published: dict[str, Any]) -> None:
    """Store and prefix of every copy, for clients that move bytes themselves; and what a store could reuse."""
    where = api("GET", f"/v1/artifacts/{published['id']}/replicas", "viewer").json()
    (replica,) = where["replicas"]
    assert (where["digest"], where["reusable"]) == (published["digest"], [])
    assert Path(f"{replica['store'].removeprefix('file://')}/{replica['prefix']}") == published["folder"]
    stores = api("GET", "/v1/stores", "viewer").json()["items"]
    assert [(one["cloud"], one["store"]) for one in stores] == [("local", replica["store"])]
    assert api("GET", f"/v1/artifacts/{published['id']}/replicas", "stranger").status_code == 404
    assert api("GET", "/v1/stores", None).status_code == 401


def test_files_are_kept_by_their_hash_or_not_at_all(api: Api) -> None:
    content = b"print('hello')"
    sha256 = hashlib.sha256(content).hexdigest()
    assert api("HEAD", f"/v1/files/{sha256}").status_code == 404
    assert api("PUT", f"/v1/files/{sha256}", "submitter", content=b"other").status_code == 422
    assert api("HEAD", f"/v1/files/{sha256}").status_code == 404
    for _ in range(2):
        assert api("PUT", f"/v1/files/{sha256}", "submitter", content=content).status_code == 204
    assert api("HEAD", f"/v1/files/{sha256}").status_code == 204
    assert api("GET", f"/v1/files/{sha256}").content == content

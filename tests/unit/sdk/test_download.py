"""Bringing a model home: right bytes appear whole, wrong ones never do."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from orchestrator.domain.artifact import Manifest, ManifestFile
from orchestrator.domain.errors import Conflict, CorruptArtifact, ServerUnavailable
from orchestrator.sdk.client import Client
from orchestrator.sdk.models import ModelVersion
from tests.unit.sdk.conftest import NOW, Reply, ScriptedApi

WEIGHTS, CARD = b"w" * 200_000, b"# digits"


def _manifest() -> Manifest:
    def describe(path: str, content: bytes) -> ManifestFile:
        return ManifestFile(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())

    return Manifest.of([describe("model/weights.safetensors", WEIGHTS), describe("README.md", CARD)])


def _artifact(**changes: object) -> dict[str, object]:
    manifest = _manifest()
    return {
        "id": "a-1", "kind": "model", "job": "j-1", "epoch": 1, "step": None, "size": manifest.size, "files": 2,
        "digest": hashlib.sha256(manifest.to_bytes()).hexdigest(), "createdAt": NOW, "replicas": [],
    } | changes  # fmt: skip


@pytest.fixture
def version(api: ScriptedApi, client: Client) -> ModelVersion:
    view = {"ref": "digits@1", "name": "digits", "version": 1, "artifact": _artifact(), "metrics": {"a": 1.0}}
    api.answers(Reply(json=view | {"lineage": {}, "createdAt": NOW}))
    found = client.models.get("digits@1")
    api.requests.clear()
    return found


def _detail(**changes: object) -> Reply:
    return Reply(json=_artifact(**changes) | {"manifest": _manifest().model_dump()})


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_file_arrives(api: ScriptedApi, version: ModelVersion, tmp_path: Path) -> None:
    api.answers(_detail(), Reply(chunks=(CARD,)), Reply(chunks=(WEIGHTS[:70_000], WEIGHTS[70_000:])))
    assert version.download(tmp_path / "home") == tmp_path / "home"
    assert _files(tmp_path / "home") == {"README.md": CARD, "model/weights.safetensors": WEIGHTS}
    assert api.requests[2].path == "/v1/artifacts/a-1/files/model/weights.safetensors"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_broken_connection_begins_the_file_again(api: ScriptedApi, version: ModelVersion, tmp_path: Path) -> None:
    api.answers(_detail(), Reply(chunks=(CARD,)), Reply(chunks=(WEIGHTS[:70_000],), cut=True), Reply(chunks=(WEIGHTS,)))
    version.download(tmp_path / "home")
    assert _files(tmp_path / "home")["model/weights.safetensors"] == WEIGHTS


@pytest.mark.parametrize("wrong", [WEIGHTS[:-1] + b"x", WEIGHTS + b"w", WEIGHTS[:-1], b"\0"])
def test_wrong_bytes_leave_nothing_behind(
    api: ScriptedApi, version: ModelVersion, tmp_path: Path, wrong: bytes
) -> None:
    api.answers(_detail(), Reply(chunks=(CARD,)), Reply(chunks=(wrong,)))
    with pytest.raises(CorruptArtifact, match="weights"):
        version.download(tmp_path / "home")
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_does_not_match_its_digest_is_refused(
    api: ScriptedApi, version: ModelVersion, tmp_path: Path
) -> None:
    api.answers(_detail(digest="0" * 64))
    with pytest.raises(CorruptArtifact, match="manifest"):
        version.download(tmp_path / "home")


def test_a_download_overwrites_nothing(api: ScriptedApi, version: ModelVersion, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "README.md").write_bytes(b"mine")
    api.answers(_detail())
    with pytest.raises(Conflict, match=r"README\.md"):
        version.download(home)
    assert _files(home) == {"README.md": b"mine"}


def test_a_download_fills_up_a_folder_that_has_the_same_files(
    api: ScriptedApi, version: ModelVersion, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "README.md").write_bytes(CARD)
    api.answers(_detail(), Reply(chunks=(CARD,)), Reply(chunks=(WEIGHTS,)))
    version.download(home)
    assert _files(home) == {"README.md": CARD, "model/weights.safetensors": WEIGHTS}


def test_a_download_onto_a_file_is_refused(api: ScriptedApi, version: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "home").write_bytes(b"mine")
    api.answers(_detail())
    with pytest.raises(Conflict, match="is a file"):
        version.download(tmp_path / "home")


def test_a_disk_that_is_full_is_no_fault_of_neutrino(
    api: ScriptedApi, version: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(tmp_path / "full"))
    (tmp_path / "full" / "README.md").symlink_to("/dev/full")
    api.answers(_detail(), Reply(chunks=(CARD,)))
    with pytest.raises(Conflict, match="No space left"):
        version.download(tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_file_in_the_place_of_a_folder_is_refused(api: ScriptedApi, version: ModelVersion, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "model").write_bytes(b"mine")
    api.answers(_detail(), Reply(chunks=(CARD,)), Reply(chunks=(WEIGHTS,)))
    with pytest.raises(Conflict, match="cannot be written"):
        version.download(home)
    assert (home / "model").read_bytes() == b"mine"


def test_a_download_that_keeps_breaking_is_given_up(api: ScriptedApi, version: ModelVersion, tmp_path: Path) -> None:
    api.answers(_detail(), Reply(chunks=(b"#",), cut=True))
    with pytest.raises(ServerUnavailable, match="broke off"):
        version.download(tmp_path / "home")
    assert list(tmp_path.iterdir()) == []

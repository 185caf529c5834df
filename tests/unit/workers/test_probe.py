"""What a check of a cluster finds out about its store, from inside a pod."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers import probe


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEUTRINO_FILE_ROOTS", str(tmp_path))
    (tmp_path / "artifacts" / "7" / "j-1.1").mkdir(parents=True)
    (tmp_path / "artifacts" / "7" / "j-1.1" / "manifest.json").write_text("{}")
    return tmp_path


def test_a_store_that_does_all_is_well_and_left_as_it_was(store: Path) -> None:
    found = probe._store(store.as_uri())
    assert found.ok, found.detail
    assert [path.name for path in store.rglob("*") if path.is_file()] == ["manifest.json"]


def test_a_folder_in_it_that_cannot_be_written_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Path.mkdir

    def mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if path.is_relative_to(store / "artifacts" / "7"):  # whoever tests may be root, whom no mode keeps out
            raise PermissionError(13, "Permission denied", str(path))
        made(path, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    found = probe._store(store.as_uri())
    assert not found.ok
    assert "cannot be written, as artifacts/7/check-" in found.detail
    assert "Permission denied" in found.detail
    assert "below `artifacts/`" in (found.fix or "")

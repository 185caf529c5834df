"""Listing a folder as a store: in the order of keys, page by page, without reading what lies elsewhere."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from cloud_adapters.providers.local import LocalStore

# Around the slash, the order of names is not the order of keys.
KEYS = sorted(["a.b/c", "a0", "b-/c", "b/a/c", "b/a/é", "b/a-c", "b0/a", "b0/b", "c/a/b/c/d"])


def _listed(store: LocalStore, prefix: str, limit: int) -> list[str]:
    keys: list[str] = []
    token: str | None = None
    while True:
        page = store.list_page(prefix, token=token, limit=limit)
        keys += [found.key for found in page.objects]
        if (token := page.next) is None:
            return keys


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A store with KEYS, something unfinished, and links that lead out of it."""
    for key in (*KEYS, ".neutrino/staged/half"):
        (tmp_path / "store" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / key).touch()
    (tmp_path / "outside" / "b").mkdir(parents=True)
    (tmp_path / "outside" / "b" / "secret").touch()
    (tmp_path / "store" / "link").symlink_to(tmp_path / "outside")
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("prefix", ["", "a", "a.", "b", "b/", "b/a", "b/a/", "b0/", "c/a/b/c/", "zz/"])
def test_pages_are_in_the_order_of_keys(store: LocalStore, prefix: str, limit: int) -> None:
    assert _listed(store, prefix, limit) == [key for key in KEYS if key.startswith(prefix)]


@pytest.mark.parametrize("prefix", ["/", "../", "b/../", "b//", "./", "link/", "link/b/", ".neutrino/", "\0/"])
def test_nothing_that_no_key_begins_with_is_listed(store: LocalStore, prefix: str) -> None:
    assert _listed(store, prefix, 100) == []


def test_a_page_reads_no_folder_that_is_not_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for one, two in itertools.product("abcdefgh", repeat=2):
        (tmp_path / one / two).mkdir(parents=True)
        (tmp_path / one / two / "key").touch()
    store, scandir, read = LocalStore(tmp_path), os.scandir, list[str]()

    def seen(path: Any) -> Any:
        read.append(os.path.relpath(path, tmp_path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", seen)
    assert [found.key for found in store.list_page("c/", token="c/e/key", limit=2).objects] == ["c/f/key", "c/g/key"]
    assert read == ["c", "c/e", "c/f", "c/g", "c/h"]

"""Manifests: canonical bytes, and no path that could leave its folder."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.domain.artifact import Manifest, ManifestFile
from orchestrator.domain.errors import InvalidSpec

HASH = "0" * 64


def _file(path: str) -> ManifestFile:
    return ManifestFile(path=path, size=1, sha256=HASH)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "a/../../b",
        "../a",
        "a/..",
        "./a",
        "a//b",
        "a/",
        "a/./b",
        "a\\b",
        "..\\a",
        "a\x00b",
        "a\nb",
        "a\x7f",
        "x" * 901,
    ],
)
def test_paths_that_are_not_plain_are_refused(path: str) -> None:
    with pytest.raises(InvalidSpec):
        _file(path)


@pytest.mark.parametrize("path", ["model.safetensors", "a/b/c.txt", "...", "..a", "ä/ö.txt", "with space", "x" * 900])
def test_plain_paths_are_accepted(path: str) -> None:
    assert _file(path).path == path


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n"])
def test_hashes_are_64_lowercase_hex_digits(digest: str) -> None:
    with pytest.raises(InvalidSpec):
        ManifestFile(path="a", size=1, sha256=digest)


def test_a_path_appears_once() -> None:
    with pytest.raises(InvalidSpec, match="once"):
        Manifest.of([_file("a"), _file("a")])


def test_files_of_a_manifest_that_was_read_are_sorted() -> None:
    unsorted = {"files": [dict(_file("b")), dict(_file("a"))]}
    with pytest.raises(ValidationError, match="sorted"):
        Manifest.model_validate(unsorted)


def test_a_manifest_does_not_list_itself() -> None:
    with pytest.raises(InvalidSpec, match="own name"):
        Manifest.of([_file("manifest.json")])


def test_only_the_exact_name_at_the_top_is_the_manifests_own() -> None:
    Manifest.of([_file("Manifest.json"), _file("sub/manifest.json")])


def test_names_that_differ_in_case_are_two_files() -> None:
    assert len(Manifest.of([_file("README"), _file("readme")]).files) == 2


def test_a_file_cannot_also_be_a_folder() -> None:
    with pytest.raises(InvalidSpec, match="folder"):
        Manifest.of([_file("a"), _file("a/b")])
    with pytest.raises(InvalidSpec, match="folder"):
        Manifest.of([_file("a"), _file("a-b"), _file("a/b/c")])
    Manifest.of([_file("a"), _file("ab/c"), _file("a.b/c")])


@given(names=st.sets(st.from_regex(r"[a-z]{1,8}", fullmatch=True)), seed=st.integers())
def test_the_digest_does_not_depend_on_the_order_of_files(names: set[str], seed: int) -> None:
    files = [_file(name) for name in sorted(names)]
    shuffled = files[:]
    random.Random(seed).shuffle(shuffled)
    assert Manifest.of(shuffled).digest == Manifest.of(files).digest
    assert Manifest.model_validate_json(Manifest.of(files).to_bytes()) == Manifest.of(files)


def test_one_changed_byte_changes_the_digest() -> None:
    one = Manifest.of([_file("a")])
    other = Manifest.of([ManifestFile(path="a", size=1, sha256="1" + HASH[1:])])
    assert one.digest != other.digest


def test_a_manifest_is_never_larger_than_its_readers_take() -> None:
    too_many = [dict(_file(f"{n:06}")) for n in range(100_001)]
    with pytest.raises(ValidationError, match="at most 100000"):
        Manifest.model_validate({"files": too_many})

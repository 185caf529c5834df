"""An artifact is an immutable set of files; its manifest says which, how large, and with what SHA-256.

Layout in a store, below a prefix that is never used twice: the files first, `manifest.json` last and create-only. A
prefix without a manifest was never finished and is invisible to every reader.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from orchestrator.domain.model import Model

MANIFEST_NAME = "manifest.json"
MARK = "artifacts/.neutrino"
"""Holds the id of the installation whose artifacts lie in a store. A store in which it was once and is no more is not
the one that it was: its folder is not mounted, or it was emptied."""
MAX_FILES = 100_000


def _safe_path(path: str) -> str:
    """A relative POSIX path that stays inside its folder on every system; raises ValueError otherwise."""
    parts = PurePosixPath(path).parts
    if (
        not path
        or path.startswith("/")
        or path != "/".join(parts)
        or ".." in parts
        or "\\" in path
        or len(path.encode()) > 900
    ):
        raise ValueError(f"{path!r} is not a plain relative path")
    if any(unicodedata.category(char) == "Cc" for char in path):
        raise ValueError(f"{path!r} contains a control character")
    return path


SafePath = Annotated[str, AfterValidator(_safe_path)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ManifestFile(Model):
    """One file of an artifact; `size` in bytes, `sha256` in lowercase hex."""

    path: SafePath
    size: int = Field(ge=0)
    sha256: Sha256


class Manifest(Model):
    """The files of an artifact, sorted by path, each path once."""

    files: tuple[ManifestFile, ...] = Field(max_length=MAX_FILES)

    @model_validator(mode="after")
    def _sorted_and_unique(self) -> Manifest:
        paths = [file.path for file in self.files]
        if paths != sorted(set(paths)):
            raise ValueError("the files of a manifest are sorted by path and each path appears once")
        if MANIFEST_NAME in paths:
            raise ValueError(f"{MANIFEST_NAME} is the manifest's own name")
        folders = {parent.as_posix() for path in paths for parent in PurePosixPath(path).parents}
        if both := folders.intersection(paths):
            raise ValueError(f"{min(both)!r} is a file and a folder at once")
        return self

    @classmethod
    def of(cls, files: list[ManifestFile]) -> Manifest:
        """A manifest of these files, in any order."""
        return cls(files=tuple(sorted(files, key=lambda file: file.path)))

    @property
    def size(self) -> int:
        """The sum of all files, in bytes."""
        return sum(file.size for file in self.files)

    def to_bytes(self) -> bytes:
        """The canonical JSON that is stored as `manifest.json`: equal manifests have equal bytes."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @property
    def digest(self) -> str:
        """The SHA-256 of `to_bytes()`: the artifact's content hash."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

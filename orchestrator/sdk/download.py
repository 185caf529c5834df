"""Fetching an artifact: every byte is hashed on its way, and nothing is visible before all of it is right."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import httpx

from orchestrator.domain.artifact import ManifestFile
from orchestrator.domain.errors import Conflict, CorruptArtifact, ServerUnavailable
from orchestrator.domain.views import ArtifactDetail
from orchestrator.sdk.steps import Call, Open, Read, Sleep, Steps
from orchestrator.sdk.transport import backoff, exchange, path, query

_ATTEMPTS = 5


def download(artifact: ArtifactDetail, target: Path, *, near: str | None = None) -> Steps[Path]:
    """Fetch the files of an artifact into the folder `target`, and return it. `near` says whose copy to prefer.

    Raises CorruptArtifact, and Conflict when the folder cannot be written or holds a file of that name with other
    content: nothing is overwritten.
    """
    if hashlib.sha256(artifact.manifest.to_bytes()).hexdigest() != artifact.digest:
        raise CorruptArtifact(f"The manifest of {artifact.id} does not match its digest.")
    try:
        _refuse_conflicts(artifact, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            yield from _fill(artifact, staging, near)
            _publish(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        hint = "Make room there, or choose another folder."
        raise Conflict(f"{target} cannot be written: {error.strerror}.", hint=hint) from error
    return target


def _fill(artifact: ArtifactDetail, folder: Path, near: str | None) -> Steps[None]:
    for file in artifact.manifest.files:
        local = folder / file.path
        local.parent.mkdir(parents=True, exist_ok=True)
        yield from _fetch(artifact.id, file, local, near)


def _refuse_conflicts(artifact: ArtifactDetail, target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise Conflict(f"{target} is a file.", hint="Choose a folder.")
    differ = [file.path for file in artifact.manifest.files if _differs(target / file.path, file)]
    if differ:
        names = ", ".join(differ[:3]) + (" …" if len(differ) > 3 else "")
        raise Conflict(f"{target} holds other content under {names}.", hint="Choose another folder, or remove it.")


def _differs(local: Path, file: ManifestFile) -> bool:
    if not local.exists():
        return False
    if not local.is_file() or local.stat().st_size != file.size:
        return True
    with local.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() != file.sha256


def _fetch(artifact: str, file: ManifestFile, local: Path, near: str | None) -> Steps[None]:
    where = path("artifacts", artifact, "files") + "/" + path(*file.path.split("/")).removeprefix("/v1/")
    for attempt in range(_ATTEMPTS):
        yield from exchange(Call("GET", where, query(near=near)), step=Open)
        try:
            size, digest = yield from _receive(local)
        except httpx.TransportError:
            yield Sleep(backoff(attempt))
            continue
        if (size, digest) == (file.size, file.sha256):
            return
        raise CorruptArtifact(
            f"{file.path} of {artifact} arrived with SHA-256 {digest} and {size} bytes, "
            f"but the manifest says {file.sha256} and {file.size}.",
            hint="Nothing was written. Another replica may be whole; tell whoever runs the store.",
        )
    raise ServerUnavailable(f"The download of {file.path} broke off {_ATTEMPTS} times.")


def _receive(local: Path) -> Steps[tuple[int, str]]:
    hasher, size = hashlib.sha256(), 0
    with local.open("wb") as out:
        while chunk := (yield Read()):
            out.write(chunk)
            hasher.update(chunk)
            size += len(chunk)
    return size, hasher.hexdigest()


def _publish(staging: Path, target: Path) -> None:
    """Move verified files into place: the whole folder at once where there was none, file by file
    otherwise."""
    if not target.exists():
        staging.chmod(0o755)
        staging.replace(target)
        return
    for file in sorted(staging.rglob("*")):
        final = target / file.relative_to(staging)
        if file.is_dir():
            final.mkdir(exist_ok=True)
        else:
            file.replace(final)

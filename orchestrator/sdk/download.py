"""Fetching an artifact: every byte is hashed on its way, and nothing is visible before all of it is right."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import httpx

from orchestrator.domain.artifact import ManifestFile
from orchestrator.domain.errors import CorruptArtifact, ServerUnavailable
from orchestrator.domain.views import ArtifactDetail
from orchestrator.sdk.steps import Call, Open, Read, Sleep, Steps
from orchestrator.sdk.transport import backoff, exchange, path

_ATTEMPTS = 5


def download(artifact: ArtifactDetail, target: Path) -> Steps[Path]:
    """Fetch the files of an artifact into the folder `target`, and return it. Raises CorruptArtifact."""
    if hashlib.sha256(artifact.manifest.to_bytes()).hexdigest() != artifact.digest:
        raise CorruptArtifact(f"The manifest of {artifact.id} does not match its digest.")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for file in artifact.manifest.files:
            local = staging / file.path
            local.parent.mkdir(parents=True, exist_ok=True)
            yield from _fetch(artifact.id, file, local)
        _publish(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _fetch(artifact: str, file: ManifestFile, local: Path) -> Steps[None]:
    where = path("artifacts", artifact, "files") + "/" + path(*file.path.split("/")).removeprefix("/v1/")
    for attempt in range(_ATTEMPTS):
        yield from exchange(Call("GET", where), step=Open)
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

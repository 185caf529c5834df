"""Reading artifacts: from the nearest good copy, and from the next one when that fails.

What fails here marks nothing in the database: that a store does not answer, or that bytes arrived damaged, may be the
fault of this process or of the way. It is only left out for a while, and a check of the copy tells what is true.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from threading import Lock

from cloud_adapters.artifacts import open_verified, read_manifest
from orchestrator.api.outside import reach
from orchestrator.domain.artifact import Manifest, ManifestFile
from orchestrator.domain.errors import CorruptArtifact, NeutrinoError, NotFound, nearest
from orchestrator.domain.transfer import Place
from orchestrator.domain.views import ArtifactView
from orchestrator.store import artifacts
from orchestrator.store.replicas import Near
from orchestrator.store.session import Database

log = logging.getLogger(__name__)

DOUBT_SECONDS = 60.0
"""A copy from which reading has failed is tried last for so long."""

_doubts: dict[Place, float] = {}
_lock = Lock()


def doubt(place: Place, error: Exception) -> None:
    """Reading from here has failed: others are tried first for a while."""
    log.warning("reading %s in %s failed: %s", place.prefix, place.store, error)
    now = time.monotonic()
    with _lock:
        for old in [one for one, until in _doubts.items() if until < now]:
            del _doubts[old]
        _doubts[place] = now + DOUBT_SECONDS


def _trusted_first(places: list[Place]) -> list[Place]:
    now = time.monotonic()
    return sorted(places, key=lambda place: _doubts.get(place, 0.0) > now)


def locate(db: Database, workspace_id: int, artifact_id: str, near: Near) -> tuple[ArtifactView, Place, Manifest]:
    """An artifact, the copy to read it from, and its manifest, which is the one that the row names.

    Raises NotFound for an artifact without a copy that may be read, and the error of the last copy when none can be.
    """
    with db.transaction() as connection:
        view, places = artifacts.get(connection, workspace_id, artifact_id, near)
    failure: NeutrinoError | None = None
    for place in _trusted_first(places):
        try:
            manifest = read_manifest(reach(place.store), place.prefix)
            if manifest.digest == view.digest:
                return view, place, manifest
            failure = CorruptArtifact(
                f"The manifest of {artifact_id} in {place.store} is not the one that was published.",
                hint="Its replica has been changed from outside; nothing was read from it.",
            )
        except NeutrinoError as error:
            failure = error
        doubt(place, failure)
    raise failure or NotFound(
        f"{artifact_id} has no copy that can be read.",
        hint="`neutrino model replicas` shows what became of them.",
    )


def stream(place: Place, manifest: Manifest, artifact_id: str, path: str) -> tuple[ManifestFile, Iterator[bytes]]:
    """A file of an artifact, and its bytes. A body that turns out to be damaged breaks off before its end. Raises
    NotFound when the manifest names no such file."""
    entry = next((file for file in manifest.files if file.path == path), None)
    if entry is None:
        guess = nearest(path, (file.path for file in manifest.files))
        hint = f"Did you mean {guess!r}?" if guess else None
        raise NotFound(f"Artifact {artifact_id} has no file {path[:200]!r}.", hint=hint)
    return entry, _chunks(place, entry)


def _chunks(place: Place, file: ManifestFile) -> Iterator[bytes]:
    """The bytes, of which the last piece is held back until all are known to be right."""
    held = b""
    try:
        for chunk in open_verified(reach(place.store), place.prefix, file):
            if held:
                yield held
            held = bytes(chunk)
    except NeutrinoError as error:
        doubt(place, error)
        raise
    yield held

"""Reading artifacts: from the nearest good copy, and from the next one when that fails.

What fails here marks nothing in the database: that a store does not answer, or that bytes arrived damaged, may be the
fault of this process or of the way. The copy is only left out for a while; where bytes were wrong or missing, a check
of it begins, which tells what is true.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

from cloud_adapters.artifacts import open_verified, read_manifest
from cloud_adapters.errors import ObjectNotFound
from orchestrator import settings
from orchestrator.api.kept import Kept
from orchestrator.api.outside import reach
from orchestrator.domain.artifact import MANIFEST_NAME, Manifest, ManifestFile
from orchestrator.domain.errors import CorruptArtifact, NeutrinoError, NotFound, ServerUnavailable, nearest
from orchestrator.domain.ids import decode
from orchestrator.domain.transfer import Place
from orchestrator.domain.views import ArtifactView
from orchestrator.store import artifacts, doubts, readers
from orchestrator.store.replicas import Near
from orchestrator.store.session import Database

log = logging.getLogger(__name__)

DOUBT_SECONDS = 60.0
"""A copy from which reading has failed is tried last for so long."""
LONG_SECONDS = 30.0
"""A download of one file that takes longer makes itself known in the database."""

_doubts: dict[Place, float] = {}
_lock = Lock()
_manifests: Kept[Manifest] = Kept(seconds=60.0, most=4)  # each may take 50 MB


def doubt(db: Database, workspace_id: int, artifact_id: str, place: Place, error: Exception) -> None:
    """Reading from here has failed: others are tried first for a while, and what may be damaged is looked into."""
    log.warning("reading %s in %s failed: %s", place.prefix, place.store, error)
    now = time.monotonic()
    with _lock:
        for old in [one for one, until in _doubts.items() if until < now]:
            del _doubts[old]
        _doubts[place] = now + DOUBT_SECONDS
    if isinstance(error, CorruptArtifact | ObjectNotFound):
        with db.transaction() as connection:
            doubts.look_into(connection, workspace_id, decode("a", artifact_id), place.store)


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
            return view, place, _manifest(artifact_id, place, view.digest)
        except NeutrinoError as error:
            failure = error
        doubt(db, workspace_id, artifact_id, place, failure)
    raise failure or NotFound(
        f"{artifact_id} has no copy that can be read.",
        hint="`neutrino model replicas` shows what became of them.",
    )


def _manifest(artifact_id: str, place: Place, digest: str) -> Manifest:
    """The manifest of a copy. Whoever reads all files of an artifact asks for it with each of them, so it is parsed
    once; that it is still there, and is the same, is looked at every time."""
    store = reach(place.store)

    def read() -> Manifest:
        manifest = read_manifest(store, place.prefix)
        if manifest.digest != digest:
            raise CorruptArtifact(
                f"The manifest of {artifact_id} in {place.store} is not the one that was published.",
                hint="Its replica has been changed from outside; nothing was read from it.",
            )
        return manifest

    version = store.head(f"{place.prefix}/{MANIFEST_NAME}").etag
    return _manifests.get((place, version, digest), read)


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of an artifact that somebody in a workspace reads."""

    db: Database
    workspace_id: int
    artifact_id: str
    place: Place

    def stream(self, manifest: Manifest, path: str) -> tuple[ManifestFile, Iterator[bytes]]:
        """A file of the artifact, and its bytes. A body that turns out to be damaged breaks off before its end. Raises
        NotFound when the manifest names no such file."""
        entry = next((file for file in manifest.files if file.path == path), None)
        if entry is None:
            guess = nearest(path, (file.path for file in manifest.files))
            hint = f"Did you mean {guess!r}?" if guess else None
            raise NotFound(f"Artifact {self.artifact_id} has no file {path[:200]!r}.", hint=hint)
        return entry, self._chunks(entry)

    def _chunks(self, file: ManifestFile) -> Iterator[bytes]:
        """The bytes, of which the last piece is held back until all are known to be right."""
        held = b""
        presence = _Presence(self)
        try:
            for chunk in open_verified(reach(self.place.store), self.place.prefix, file):
                if held:
                    yield held
                held = bytes(chunk)
                presence.tell()
        except NeutrinoError as error:
            doubt(self.db, self.workspace_id, self.artifact_id, self.place, error)
            raise
        finally:
            presence.end()
        yield held


class _Presence:
    """Makes a reader known once it has read for long, and again and again from then on."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy
        self._row: int | None = None
        self._next = time.monotonic() + min(LONG_SECONDS, settings.current().stale_seconds / 4)

    def tell(self) -> None:
        """Say that it still reads. A database that is away or busy does not stop it: it is told the next time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + readers.LIVES_SECONDS / 3
        with suppress(ServerUnavailable), self._copy.db.transaction() as connection:
            if self._row is None:
                self._row = readers.begin(connection, decode("a", self._copy.artifact_id), self._copy.place.store)
            else:
                readers.go_on(connection, self._row)

    def end(self) -> None:
        """It reads no more."""
        if self._row is not None:
            with suppress(ServerUnavailable), self._copy.db.transaction() as connection:
                readers.end(connection, self._row)

"""Brings an attempt's inputs to its folder and its outputs to the store. Blocking: the agent calls it in threads."""

from __future__ import annotations

import hashlib
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from cloud_adapters import artifacts
from cloud_adapters.registry import open_store
from cloud_adapters.retrying import RetryingStore
from orchestrator.domain.errors import CorruptArtifact, NeutrinoError, NotFound
from orchestrator.domain.protocol import (
    ArtifactUpload,
    CheckpointRef,
    Input,
    PublishCheckpoint,
    Resumed,
    Skipped,
    StagedInput,
    StagedInputs,
)
from orchestrator.domain.quantities import format_bytes
from orchestrator.domain.spec import SourceFile
from orchestrator.domain.transfer import Place
from workers.api import Api
from workers.cache import Cache
from workers.sources import Had, fetch_first

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_TRIES = 4
_FIRST_PAUSE = 0.5  # seconds; doubled each time
_LONGEST_PAUSE = 5.0


class Copy(NamedTuple):
    """A copy of an artifact, and the digest of its manifest."""

    place: Place
    digest: str

    @property
    def store(self) -> str:
        """The address of its store."""
        return self.place.store

    @property
    def prefix(self) -> str:
        """Where it lies there."""
        return self.place.prefix


class Depot:
    """Files that users named come from the API and are kept by their hash; artifacts come from and go to stores.
    `store` gives the address of the one where this worker's artifacts go."""

    def __init__(self, api: Api, store: Callable[[], str], cache: Path) -> None:
        self._api = api
        self._store = store
        self._cache = Cache(cache)

    def publish(self, folder: Path, prefix: str) -> ArtifactUpload:
        """Upload a folder as an artifact. Raises a NeutrinoError when it cannot be stored."""
        uri = self._store()
        store = _opened(uri)
        manifest = retried(lambda: artifacts.publish(store, prefix, folder))
        return ArtifactUpload(
            store=uri, prefix=prefix, digest=manifest.digest, size=manifest.size, files=len(manifest.files)
        )

    def publish_checkpoint(self, folder: Path, step: int, prefix: str) -> ArtifactUpload:
        """Upload a folder as a checkpoint that nobody sees yet. Raises a NeutrinoError when it cannot be stored."""
        return self.publish(folder, f"{prefix}/checkpoints/{step}-{secrets.token_hex(8)}")

    def commit_checkpoint(
        self, attempt: str, step: int, upload: ArtifactUpload, cancel: threading.Event
    ) -> tuple[str, ...]:
        """Make an upload the attempt's newest checkpoint; returns those in its store that it replaces. Raises
        LeaseLost, and ServerUnavailable soon after `cancel` was set."""
        published = PublishCheckpoint(attempt=attempt, step=step, artifact=upload)
        return answered(lambda: self._api.checkpoint(published), cancel).superseded

    def discard(self, uri: str, prefixes: Sequence[str]) -> None:
        """Remove what has been replaced. What cannot be removed now is found by the janitor, once the attempt has
        ended."""
        for prefix in prefixes:
            try:
                artifacts.discard(_opened(uri), prefix)
            except NeutrinoError as error:
                log.warning("The old checkpoint at %s could not be removed: %s", prefix, error)

    def stage_checkpoint(
        self, attempt: str, sources: Sequence[CheckpointRef], folder: Path, cancel: threading.Event
    ) -> Had[CheckpointRef]:
        """Fetch and verify the first of these checkpoints that can be had. Raises the NeutrinoError of the first one
        when none can be had intact, LeaseLost, and any of them soon after `cancel` was set."""
        had = fetch_first(sources, folder, self._store(), cancel)
        if had.passed:
            skipped = tuple(Skipped(step=one.source.step, store=one.source.store, why=one.why) for one in had.passed)
            told = Resumed(attempt=attempt, step=had.source.step, store=had.source.store, skipped=skipped)
            answered(lambda: self._api.resumed(told), cancel)
        return had

    def stage_inputs(self, attempt: str, inputs: Sequence[Input], folder: Path, cancel: threading.Event) -> list[str]:
        """Fetch and verify each input into a folder of its name. Returns what there is to say of that. Raises the
        NeutrinoError of one that cannot be had intact, LeaseLost, and any of them soon after `cancel` was set."""
        said: list[str] = []
        staged: list[StagedInput] = []
        for one in inputs:
            if not one.sources:
                raise NotFound(f"Input {one.name} ({one.ref}) has no verified copy any more.")
            copies = [Copy(place, one.digest) for place in one.sources]
            had = fetch_first(copies, folder / one.name, self._store(), cancel)
            said += [f"Input {one.name} ({one.ref}) in {bad.source.store}: {bad.why}" for bad in had.passed]
            said.append(f"Input {one.name}: {one.ref}, {format_bytes(one.size)} from {had.source.store}.")
            damaged = tuple(dict.fromkeys(bad.source.store for bad in had.passed if bad.damaged))
            staged.append(StagedInput(name=one.name, store=had.source.store, damaged=damaged))
        told = StagedInputs(attempt=attempt, inputs=tuple(staged))
        answered(lambda: self._api.staged(told), cancel)
        return said

    def stage_files(self, files: tuple[SourceFile, ...], token: str, work: Path, cancel: threading.Event) -> None:
        """Place the user's files into the working folder. Raises a NeutrinoError when one cannot be had intact, and
        ServerUnavailable soon after `cancel` was set."""
        for file in files:
            target = work / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._content(file, token, cancel))
            target.chmod(0o755 if file.executable else 0o644)

    def _content(self, file: SourceFile, token: str, cancel: threading.Event) -> bytes:
        data = self._cache.get(file.sha256)
        if data is None:
            data = retried(lambda: self._download(file, token, cancel))
            self._cache.put(file.sha256, data)
        return data

    def _download(self, file: SourceFile, token: str, cancel: threading.Event) -> bytes:
        data = answered(lambda: self._api.file(file.sha256, token), cancel)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise CorruptArtifact(f"{file.path}: the bytes that arrived do not match the hash.")
        return data


@lru_cache(maxsize=4)
def _opened(uri: str) -> RetryingStore:
    """A store, opened once: looking for its credentials takes longer than a small checkpoint."""
    return open_store(uri)


def retried(work: Callable[[], Result]) -> Result:
    """Do it, and again a few times when the error says that this can help, or bytes arrived damaged."""
    for remaining in range(_TRIES - 1, -1, -1):
        try:
            return work()
        except NeutrinoError as error:
            if remaining == 0 or not (error.retryable or isinstance(error, CorruptArtifact)):
                raise
        time.sleep(_FIRST_PAUSE * 2 ** (_TRIES - 1 - remaining))
    raise AssertionError("the last try returns or raises")


def answered(call: Callable[[], Result], cancel: threading.Event) -> Result:
    """What the API answers, however long it cannot be reached: an attempt that holds its lease does not fail for that.
    Raises what the API answers, and why it could not be reached soon after `cancel` was set."""
    pause = _FIRST_PAUSE
    while True:
        try:
            return call()
        except NeutrinoError as error:
            if not error.retryable or cancel.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311 - no secret
                raise
        pause = min(2 * pause, _LONGEST_PAUSE)

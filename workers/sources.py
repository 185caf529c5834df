"""Artifacts that an attempt needs, from the first place where they can be had: the nearest store that answers, and of
a checkpoint the newest."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from cloud_adapters.fetching import Held, fetch, holdings
from cloud_adapters.registry import open_store
from cloud_adapters.retry import Retry
from cloud_adapters.retrying import RetryingStore
from orchestrator.domain.errors import CorruptArtifact, NeutrinoError

_IMPATIENT = Retry(attempts=2)
"""How often a store is asked while there are others: one that is gone must not hold up what another one has."""
_PATIENT = Retry()
_LONGEST_WHY = 1000


class Source(Protocol):
    """Where an artifact lies, and the digest of its manifest."""

    @property
    def store(self) -> str: ...

    @property
    def prefix(self) -> str: ...

    @property
    def digest(self) -> str: ...


Some = TypeVar("Some", bound=Source)


@dataclass(frozen=True, slots=True)
class Passed(Generic[Some]):
    """A source from which the artifact could not be had, and why; `damaged` when what it gave was wrong."""

    source: Some
    why: str
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Had(Generic[Some]):
    """The source that it was fetched from, and those that were passed over for it."""

    source: Some
    passed: tuple[Passed[Some], ...] = ()


def fetch_first(sources: Sequence[Some], folder: Path, own: str, cancel: threading.Event) -> Had[Some]:
    """Fetch and verify the first of `sources` that can be had. Files that another one has in our `own` store are taken
    from there, so that from afar only those come that have changed.

    Raises the error of the first one when, after a second and more patient round, none of them can be had intact,
    and any error soon after `cancel` was set.
    """
    passed: list[Passed[Some]] = []
    first: NeutrinoError | None = None
    for patience in (_IMPATIENT if len(sources) > 1 else _PATIENT, _PATIENT):
        passed.clear()
        silent: dict[str, str] = {}  # stores that do not answer in this round, and what they were asked in vain
        for source in sources:
            if why := silent.get(source.store):
                passed.append(Passed(source, why))
                continue
            try:
                store = RetryingStore(open_store(source.store).inner, patience)
                near = {} if source.store == own else _here(sources, own)
                fetch(store, source.prefix, source.digest, folder, near=near, cancel=cancel)
            except NeutrinoError as error:
                if cancel.is_set():
                    raise
                first = first or error
                why = str(error)[:_LONGEST_WHY]
                passed.append(Passed(source, why, damaged=isinstance(error, CorruptArtifact)))
                if error.retryable:
                    silent[source.store] = why
            else:
                return Had(source, tuple(passed))
    assert first is not None, "there is at least one source"
    raise first


def _here(sources: Sequence[Source], own: str) -> dict[str, Held]:
    """What the artifacts in our own store hold."""
    prefixes = [source.prefix for source in sources if source.store == own]
    try:
        return holdings(RetryingStore(open_store(own).inner, _IMPATIENT), prefixes) if prefixes else {}
    except NeutrinoError:  # then everything comes from afar
        return {}

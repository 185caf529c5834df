"""The checkpoint from which an attempt goes on: the newest that can be had, from the nearest store that answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_adapters import artifacts
from cloud_adapters.registry import open_store
from cloud_adapters.retry import Retry
from cloud_adapters.retrying import RetryingStore
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.protocol import CheckpointRef, Skipped

_IMPATIENT = Retry(attempts=2)
"""How often a store is asked while there are others: one that is gone must not hold up what another one has."""
_PATIENT = Retry()
_LONGEST_WHY = 1000


@dataclass(frozen=True, slots=True)
class Staged:
    """What was fetched, and what was passed over for it."""

    step: int
    store: str
    skipped: tuple[Skipped, ...] = ()


def fetch_first(sources: Sequence[CheckpointRef], folder: Path, own: str) -> Staged:
    """Fetch and verify the first of `sources` that can be had. Files that an older checkpoint has in our `own` store
    are taken from there, so that from afar only those come that have changed.

    Raises the error of the first one when, after a second and more patient round, none of them can be had intact.
    """
    skipped: list[Skipped] = []
    first: NeutrinoError | None = None
    for patience in (_IMPATIENT if len(sources) > 1 else _PATIENT, _PATIENT):
        skipped.clear()
        silent: dict[str, str] = {}  # stores that do not answer in this round, and what they were asked in vain
        for source in sources:
            if why := silent.get(source.store):
                skipped.append(Skipped(step=source.step, store=source.store, why=why))
                continue
            try:
                store = RetryingStore(open_store(source.store).inner, patience)
                near = {} if source.store == own else _here(sources, own)
                artifacts.fetch(store, source.prefix, source.digest, folder, near=near)
            except NeutrinoError as error:
                first = first or error
                why = str(error)[:_LONGEST_WHY]
                skipped.append(Skipped(step=source.step, store=source.store, why=why))
                if error.retryable:
                    silent[source.store] = why
            else:
                return Staged(source.step, source.store, tuple(skipped))
    assert first is not None, "there is at least one source"
    raise first


def _here(sources: Sequence[CheckpointRef], own: str) -> dict[str, artifacts.Held]:
    """What the checkpoints in our own store hold."""
    prefixes = [source.prefix for source in sources if source.store == own]
    try:
        return artifacts.holdings(RetryingStore(open_store(own).inner, _IMPATIENT), prefixes) if prefixes else {}
    except NeutrinoError:  # then everything comes from afar
        return {}

"""Migrations of models as they are asked for: what the database knows before any store is looked at."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.ids import decode
from orchestrator.domain.transfer import Migrate, Place
from orchestrator.domain.views import ModelVersionView
from orchestrator.store import models, replicas, targets, transfers
from orchestrator.store.replicas import Near


@dataclass(frozen=True, slots=True)
class Draft:
    """A migration that the database does not object to. `sources` has the best first."""

    version: ModelVersionView
    target: Near
    sources: list[Place]
    reuse: tuple[str, ...]

    @property
    def store(self) -> str:
        """The address of the destination."""
        assert self.target.store is not None, "a target that was found has a store"
        return self.target.store


def draft(connection: Connection, workspace_id: int, name: str, version: str, wanted: Migrate) -> Draft:
    """Raises NotFound for what does not exist, and Conflict for what there is nothing to do for, or nothing with."""
    found = models.version(connection, workspace_id, name, version)
    artifact_id = decode("a", found.artifact.id)
    target = targets.resolve(connection, wanted.to)
    assert target.store is not None
    transfers.refuse_taken(connection, artifact_id, target.store, found.ref)
    good = replicas.sources(connection, artifact_id, target)
    if wanted.source is not None:
        asked = targets.resolve(connection, wanted.source).store
        good.sort(key=lambda place: place.store != asked)
        if good and good[0].store != asked:
            there = ", ".join(place.store for place in good)
            raise NotFound(f"There is no good copy of {found.ref} in {asked}.", hint=f"There are: {there}.")
    if not good:
        raise Conflict(
            f"{found.ref} has no good copy, so there is nothing to migrate.",
            hint=f"`neutrino model replicas {found.ref}` shows what became of them.",
        )
    return Draft(found, target, good, replicas.reusable(connection, artifact_id, target.store))

"""From what a person writes, a cloud, a pool or an address, to the one store that is meant."""

from __future__ import annotations

from sqlalchemy import Connection, text

from orchestrator.domain.errors import Conflict, NotFound, nearest
from orchestrator.domain.spec import Cloud
from orchestrator.store.replicas import Near


def resolve(connection: Connection, wanted: str) -> Near:
    """The store of the pool of this name, or of the pools on the cloud of this name, or at this address.

    Raises NotFound with what there is, and Conflict when a cloud has several stores.
    """
    pools = connection.execute(text("SELECT name, cloud, region, store FROM pools ORDER BY name")).all()
    found = (
        [pool for pool in pools if pool.name == wanted]
        or [pool for pool in pools if pool.cloud == wanted]
        or [pool for pool in pools if pool.store == wanted]
    )
    if not found:
        raise _unknown(wanted, sorted({pool.cloud for pool in pools} | {pool.name for pool in pools}))
    stores = list(dict.fromkeys(pool.store for pool in found))
    if len(stores) > 1:
        named = ", ".join(f"{pool.name} ({pool.store})" for pool in found)
        raise Conflict(
            f"{wanted} has {len(stores)} stores.", hint=f"Name one of its pools: {named}.", suggestions=stores
        )
    return Near(found[0].store, found[0].cloud, found[0].region)


def _unknown(wanted: str, known: list[str]) -> NotFound:
    guess = nearest(wanted, known)
    if guess is None and wanted in set(Cloud):
        return NotFound(
            f"There is no pool on {wanted}, so there is no store there.",
            hint=f"Create one with `neutrino pool create`. There are: {', '.join(known)}.",
        )
    hint = f"Did you mean {guess!r}?" if guess else f"Name a cloud, a pool or its store: {', '.join(known)}."
    return NotFound(
        f"There is no cloud, pool or store {wanted[:200]!r}.", hint=hint, suggestions=[guess] if guess else []
    )

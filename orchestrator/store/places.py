"""Where artifacts lie, and which stores there are."""

from __future__ import annotations

from sqlalchemy import Connection, text

from orchestrator.domain.errors import NotFound
from orchestrator.domain.ids import decode
from orchestrator.domain.places import ArtifactPlaces, ReplicaPlace, StoreView

REUSED_VERSIONS = 8
"""So many other versions of a model are looked through for files that need not be sent again."""

_ARTIFACT = """
    SELECT c.id, encode(c.digest, 'hex') AS digest, c.size FROM artifacts c
    WHERE c.id = :id AND c.workspace_id = :workspace
"""
_REPLICAS = """
    SELECT store, prefix, verified_at FROM replicas WHERE artifact_id = :id AND state = 'verified'
    ORDER BY verified_at DESC, store
"""
_REUSABLE = """
    SELECT r.prefix FROM model_versions v
    JOIN model_versions other ON other.model_id = v.model_id AND other.artifact_id <> v.artifact_id
    JOIN replicas r ON r.artifact_id = other.artifact_id AND r.store = :store AND r.state = 'verified'
    WHERE v.artifact_id = :id ORDER BY other.version DESC LIMIT :limit
"""
_STORES = """
    SELECT min(cloud) AS cloud, min(region) AS region, store, array_agg(name ORDER BY name) AS pools
    FROM pools GROUP BY store ORDER BY 1, 2, 3
"""


def of_artifact(connection: Connection, workspace_id: int, public_id: str, store: str | None) -> ArtifactPlaces:
    """Where an artifact lies, and what `store` holds of its kin. Raises NotFound."""
    values = {"id": decode("a", public_id), "workspace": workspace_id}
    found = connection.execute(text(_ARTIFACT), values).one_or_none()
    if found is None:
        raise NotFound(f"There is no artifact {public_id} in this workspace.")
    replicas = connection.execute(text(_REPLICAS), {"id": found.id})
    kin = connection.execute(text(_REUSABLE), {"id": found.id, "store": store, "limit": REUSED_VERSIONS})
    return ArtifactPlaces(
        artifact=public_id,
        digest=found.digest,
        size=found.size,
        replicas=tuple(ReplicaPlace.model_validate(dict(row)) for row in replicas.mappings()),
        reusable=tuple(row.prefix for row in kin),
    )


def stores(connection: Connection) -> list[StoreView]:
    """The stores of all pools. Pools belong to the installation, not to a workspace."""
    return [StoreView.model_validate(dict(row)) for row in connection.execute(text(_STORES)).mappings()]

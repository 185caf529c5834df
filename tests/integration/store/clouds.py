"""Three clouds in the database: where jobs and their checkpoints are."""

from __future__ import annotations

from typing import Any

from orchestrator.domain.ids import AttemptId
from orchestrator.domain.spec import Cloud, Placement
from orchestrator.store import checkpoints
from tests.integration.store.plane import Plane, command, upload

STORES = {"aws": "s3://bucket", "gcp": "gs://bucket", "azure": "az://bucket"}
_USD = {("aws", "gcp"): 0.09, ("aws", "azure"): 0.12, ("gcp", "azure"): 0.11}
RATE = 100 * 1024**2


def prices(source: tuple[str, str], destination: tuple[str, str]) -> float:
    """USD per GiB."""
    return _USD.get((source[0], destination[0]), 0.0)


def running(plane: Plane, workers: dict[str, int], *clouds: Cloud, **fields: Any) -> AttemptId:
    """An attempt on aws."""
    return plane.running(workers["aws"], command(placement=Placement(clouds=clouds or (Cloud.AWS,)), **fields))


def checkpoint(plane: Plane, attempt: AttemptId, step: int, cloud: str = "aws", size: int = 2 * 1024**3) -> int:
    where = upload(attempt, plane.workspace, f"c{step}").model_copy(update={"store": STORES[cloud], "size": size})
    with plane.database.transaction() as connection:
        return checkpoints.commit(connection, attempt, step, where)[0]


def copy(plane: Plane, artifact: int, cloud: str) -> None:
    """A verified copy in another store."""
    plane.sql(
        "INSERT INTO replicas (artifact_id, store, prefix) VALUES (:id, :store, :prefix)",
        id=artifact,
        store=STORES[cloud],
        prefix=f"copy/{artifact}",
    )

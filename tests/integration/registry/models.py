"""Models to migrate: made by real jobs, in the store of aws, of as many bytes as a test wants."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cloud_adapters.artifacts import list_keys
from cloud_adapters.registry import open_store
from orchestrator import Command, Outputs, Placement
from orchestrator.domain.views import ReplicaView
from orchestrator.sdk.drivers import Sync
from orchestrator.sdk.models import ModelVersion
from tests.integration.moves.clouds import Clouds, until

Model = ModelVersion[Sync]

_WRITE = """
import random, sys
import orchestrator as nu
count, size, seed, changed = map(int, sys.argv[1:])
for number in range(count):
    dice = random.Random(f"{number} {seed if number < changed else 0}")
    (nu.run().output_dir / f"part-{number:02}.bin").write_bytes(dice.randbytes(size))
"""


def make(clouds: Clouds, name: str, *, files: int = 4, size: int = 50_000, seed: int = 0, changed: int = 0) -> Model:
    """The next version of a model; its first `changed` files depend on the seed, the others are always the same."""
    command = ("python", "-c", _WRITE, str(files), str(size), str(seed), str(changed))
    spec = Command(name=name, command=command, outputs=Outputs(model=name), placement=Placement(clouds=("aws",)))
    return clouds.client.jobs.submit(spec).wait(timeout=120).model


def states(model: Model) -> dict[str, str]:
    """The state of each copy by its cloud."""
    return {replica.cloud: str(replica.state) for replica in model.replicas}


def until_states(model: Model, wanted: dict[str, str]) -> None:
    """Return once the copies are in these states."""
    until(lambda: states(model) == wanted)


def copy_in(model: Model, cloud: str) -> ReplicaView:
    """The copy on a cloud."""
    return next(replica for replica in model.replicas if replica.cloud == cloud)


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def keys(clouds: Clouds, cloud: str) -> set[str]:
    """Every object in the store of a cloud, but for the mark of the janitor."""
    return {key for key in list_keys(open_store(clouds.stores[cloud]), "artifacts/") if "/." not in key}


def clean(clouds: Clouds) -> None:
    """Return once everything in the stores belongs to a copy, and every copy is verified."""

    def nothing_else() -> bool:
        rows = clouds.sql("SELECT store, prefix, state FROM replicas")
        known = {store: [row.prefix for row in rows if row.store == store] for store in clouds.stores.values()}
        return (
            not clouds.sql("SELECT FROM garbage")
            and {row.state for row in rows} <= {"verified"}
            and all(
                key.startswith(tuple(f"{prefix}/" for prefix in known[store]))
                for cloud, store in clouds.stores.items()
                for key in keys(clouds, cloud)
            )
        )

    until(nothing_else)

"""Pools and the workers in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from orchestrator import settings
from orchestrator.domain.errors import Conflict, NotFound, nearest
from orchestrator.domain.gpus import KNOWN, check_known
from orchestrator.domain.ids import AttemptId, decode, encode
from orchestrator.domain.location import of_job
from orchestrator.domain.placement import PoolState
from orchestrator.domain.pods import PodSettings
from orchestrator.domain.protocol import PodPool, RegisterWorker
from orchestrator.domain.spec import JobSpec
from orchestrator.domain.views import CreatePool, PoolView, WorkerView
from orchestrator.store import clusters
from orchestrator.store.fence import LIVE
from orchestrator.store.fragments import ONLINE

# Counted from the attempts and the window, whose partial indexes hold only what is alive.
_STATES = f"""
    SELECT p.id, p.name, p.cloud, p.region, p.gpu, p.store, p.pods, p.spot, p.usd_per_hour, c.name AS cluster,
      (SELECT count(*) FROM workers w WHERE w.pool_id = p.id AND {ONLINE}) AS workers,
      (SELECT coalesce(sum(w.slots), 0) FROM workers w
       WHERE w.pool_id = p.id AND NOT w.draining AND c.draining IS NOT TRUE AND {ONLINE}) AS slots,
      (SELECT count(*) FROM attempts a WHERE a.pool_id = p.id AND a.state = 'RUNNING') AS running,
      (SELECT count(*) FROM jobs j WHERE j.pool_id = p.id AND j.state = 'DISPATCHED') AS dispatched,
      (SELECT count(*) FROM attempts a WHERE a.bound_for = p.id AND a.state = 'RUNNING') AS kept
    FROM pools p LEFT JOIN clusters c ON c.id = p.cluster_id ORDER BY p.name
"""


def _rows(connection: Connection) -> Sequence[Row[Any]]:
    return connection.execute(text(_STATES), {"silence": settings.current().silence_seconds}).all()


def _state(row: Row[Any]) -> PoolState:
    return PoolState(
        id=row.id,
        name=row.name,
        cloud=row.cloud,
        gpu=row.gpu,
        workers=row.workers,
        slots=row.slots,
        running=row.running,
        dispatched=row.dispatched,
        kept=row.kept,
        region=row.region,
        store=row.store,
        pods=row.cluster is not None,
        max_nodes=PodSettings.model_validate(row.pods or {}).max_nodes if row.cluster else 1,
        spot=row.spot,
        usd_per_hour=row.usd_per_hour,
    )


def states(connection: Connection) -> list[PoolState]:
    """Every pool with its live capacity. Pools belong to the installation, not to a workspace."""
    return [_state(row) for row in _rows(connection)]


def views(connection: Connection, queue_of: Any) -> list[PoolView]:
    """The pools as people see them; `queue_of` names a pool's Celery queue."""
    return [
        PoolView(
            name=row.name,
            cloud=row.cloud,
            region=row.region,
            gpu=row.gpu,
            workers=row.workers,
            slots=row.slots,
            running=row.running,
            dispatched=row.dispatched,
            queue=queue_of(row.name),
            store=row.store,
            cluster=row.cluster,
            spot=row.spot,
            usd_per_hour=row.usd_per_hour,
        )
        for row in _rows(connection)
    ]


def view(connection: Connection, name: str, queue_of: Any) -> PoolView:
    """The pool of this name as people see it. Raises NotFound."""
    if (found := next((one for one in views(connection, queue_of) if one.name == name), None)) is None:
        raise _unknown(name)
    return found


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no pool {name!r}.", hint="`neutrino pool list` shows them.")


_INSERT = """
    INSERT INTO pools (name, cloud, region, gpu, store, cluster_id, pods, spot, usd_per_hour)
    VALUES (:name, :cloud, :region, :gpu, :store, :cluster, CAST(:pods AS jsonb), :spot, :usd)
"""


def create(connection: Connection, pool: CreatePool) -> None:
    """Add a pool. Raises Conflict when the name is taken, NotFound when there is no such cluster, and InvalidSpec for a
    type of GPU that no cluster has."""
    statement = f"{_INSERT} ON CONFLICT DO NOTHING RETURNING 1"
    if connection.execute(text(statement), _row(connection, pool)).one_or_none() is None:
        raise Conflict(f"There is a pool {pool.name} already.", hint="`neutrino pool list` shows it.")


def ensure(connection: Connection, pool: CreatePool) -> None:
    """Make the pool, or make the one of this name what is asked for; its jobs and workers stay. Raises like `create`,
    but for the Conflict."""
    statement = f"""
        {_INSERT} ON CONFLICT (name) DO UPDATE SET cloud = excluded.cloud, region = excluded.region,
          gpu = excluded.gpu, store = excluded.store, cluster_id = excluded.cluster_id, pods = excluded.pods,
          spot = excluded.spot, usd_per_hour = coalesce(excluded.usd_per_hour, pools.usd_per_hour)
    """
    connection.execute(text(statement), _row(connection, pool))


def _row(connection: Connection, pool: CreatePool) -> dict[str, object]:
    if pool.cluster is not None and pool.gpu is not None:
        check_known(pool.gpu, "gpu")
    pods = pool.pods or PodSettings()
    spot = pool.spot or pods.spot
    return {
        "name": pool.name,
        "cloud": pool.cloud,
        "region": pool.region,
        "gpu": pool.gpu,
        "store": pool.store,
        "spot": spot,
        "usd": pool.usd_per_hour,
        "cluster": None if pool.cluster is None else clusters.row_id(connection, pool.cluster),
        "pods": None
        if pool.cluster is None
        else pods.model_copy(update={"spot": spot}).model_dump_json(exclude_defaults=True),
    }


def set_price(connection: Connection, name: str, usd_per_hour: float | None) -> None:
    """Say what one slot of a pool costs for an hour; None: unknown. Raises NotFound."""
    statement = "UPDATE pools SET usd_per_hour = :usd WHERE name = :name RETURNING 1"
    if connection.execute(text(statement), {"usd": usd_per_hour, "name": name}).one_or_none() is None:
        raise _unknown(name)


def check_gpus(connection: Connection, specs: Sequence[JobSpec]) -> None:
    """Refuse types of GPU that are not known and that no pool has. Raises InvalidSpec."""
    unknown = [
        (gpu, f"{of_job(index, len(specs))}spec.resources.gpu")
        for index, spec in enumerate(specs)
        if (gpu := spec.resources.gpu) is not None and gpu.type not in KNOWN
    ]
    if unknown:
        had = list(connection.execute(text("SELECT gpu FROM pools WHERE gpu IS NOT NULL")).scalars())
        for gpu, path in unknown:
            check_known(gpu, path, had)


@dataclass(frozen=True, slots=True)
class Registered:
    """A worker's row: its id, and its pool's id and store; `pods` when the pool is one of pods."""

    worker_id: int
    pool_id: int
    store: str
    pods: PodPool | None = None


def register(connection: Connection, worker: RegisterWorker) -> Registered:
    """Write a worker down; one of the same name in the same pool takes its predecessor's row. Raises NotFound when
    there is no such pool, and Conflict for one in a pool of pods whose attempts end with it: that is no launcher."""
    known = {row.name: row for row in connection.execute(text("SELECT id, name, store, pods FROM pools"))}
    if worker.pool not in known:
        guess = nearest(worker.pool, known)
        hint = f"Did you mean {guess!r}?" if guess else "Create it with `neutrino pool create`."
        raise NotFound(f"There is no pool {worker.pool!r}.", hint=hint, suggestions=[guess] if guess else [])
    pool = known[worker.pool]
    if pool.pods is not None and not worker.outlived:
        raise Conflict(
            f"Pool {worker.pool} is one of pods.", hint="Only a launcher works there; give workers a pool of their own."
        )
    statement = """
        INSERT INTO workers (pool_id, name, host, pid, slots, version, gpus)
        VALUES (:pool, :name, :host, :pid, :slots, :version, CAST(:gpus AS jsonb))
        ON CONFLICT (pool_id, name) DO UPDATE SET host = excluded.host, pid = excluded.pid, slots = excluded.slots,
          version = excluded.version, gpus = excluded.gpus, draining = false, started_at = clock_timestamp(),
          heartbeat_at = clock_timestamp()
        RETURNING id
    """
    values = {
        "pool": pool.id,
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "slots": worker.slots,
        "version": worker.version,
        "gpus": json.dumps(worker.gpus),
    }
    worker_id = connection.execute(text(statement), values).scalar_one()
    return Registered(worker_id, pool.id, pool.store, clusters.pod_pool(connection, pool.id))


def held_attempts(connection: Connection, worker_id: int) -> list[AttemptId]:
    """The attempts on which this worker holds a lease, in order."""
    statement = f"SELECT a.job_id, a.epoch FROM attempts a WHERE a.worker_id = :worker AND {LIVE} ORDER BY a.job_id"
    rows = connection.execute(text(statement), {"worker": worker_id})
    return [AttemptId(row.job_id, row.epoch) for row in rows]


def pool_of(connection: Connection, worker_id: int) -> int:
    """The row id of a worker's pool. Raises NotFound."""
    row = connection.execute(text("SELECT pool_id FROM workers WHERE id = :id"), {"id": worker_id}).one_or_none()
    if row is None:
        raise NotFound(f"There is no worker {encode('w', worker_id)}.", hint="Register first.")
    found: int = row.pool_id
    return found


_WORKERS = f"""
    SELECT w.*, p.name AS pool, {ONLINE} AS online,
      (SELECT count(*) FROM attempts a WHERE a.worker_id = w.id AND a.state = 'RUNNING') AS running
    FROM workers w JOIN pools p ON p.id = w.pool_id
"""


def _worker(row: Row[Any]) -> WorkerView:
    return WorkerView(
        id=encode("w", row.id),
        name=row.name,
        pool=row.pool,
        host=row.host,
        pid=row.pid,
        slots=row.slots,
        running=row.running,
        online=row.online,
        draining=row.draining,
        version=row.version,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
    )


def workers(connection: Connection, *, before: int | None, limit: int) -> tuple[list[WorkerView], int | None]:
    """The newest workers, and the id below which the next page begins."""
    statement = f"{_WORKERS} WHERE (CAST(:before AS bigint) IS NULL OR w.id < :before) ORDER BY w.id DESC LIMIT :limit"
    values = {"before": before, "limit": limit + 1, "silence": settings.current().silence_seconds}
    rows = list(connection.execute(text(statement), values))
    return [_worker(row) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None


def drain(connection: Connection, public_id: str) -> tuple[int, WorkerView]:
    """Ask a worker to finish: it checkpoints, gives its jobs back and exits. Raises NotFound."""
    worker_id = decode("w", public_id)
    connection.execute(text("UPDATE workers SET draining = true WHERE id = :id"), {"id": worker_id})
    values = {"id": worker_id, "silence": settings.current().silence_seconds}
    row = connection.execute(text(f"{_WORKERS} WHERE w.id = :id"), values).one_or_none()
    if row is None:
        raise NotFound(f"There is no worker {public_id}.", hint="`neutrino worker list` shows them.")
    return worker_id, _worker(row)

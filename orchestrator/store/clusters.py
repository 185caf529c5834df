"""Clusters: references to where pods can run, and what their launchers found there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from orchestrator import settings
from orchestrator.domain.errors import Conflict, NotFound, nearest
from orchestrator.domain.pods import Check, ClusterKind, ClusterRef, ClusterView, CreateCluster, PodSettings
from orchestrator.domain.protocol import PodPool
from orchestrator.store.fragments import ONLINE

IN_CLUSTER = "in-cluster"
_DIGEST = "md5(ROW(c.name, c.ref, p.pods, p.store, p.cloud, p.gpu)::text)"
_VIEWS = f"""
    SELECT c.*,
      (SELECT coalesce(array_agg(p.name ORDER BY p.name), '{{}}') FROM pools p WHERE p.cluster_id = c.id) AS pools,
      (SELECT count(*) FROM workers w JOIN pools p ON p.id = w.pool_id
       WHERE p.cluster_id = c.id AND {ONLINE}) AS launchers,
      (SELECT max(w.heartbeat_at) FROM workers w JOIN pools p ON p.id = w.pool_id
       WHERE p.cluster_id = c.id) AS heard_at,
      (SELECT min(t.detail) FROM components t WHERE t.kind = 'cluster' AND NOT t.ok
         AND starts_with(t.name, c.name || '/')
         AND t.seen_at > clock_timestamp() - :silence * interval '1 second') AS trouble
    FROM clusters c
"""
_TROUBLED = """
    INSERT INTO components (name, kind, detail, ok)
    SELECT c.name || '/' || w.name, 'cluster', :trouble, false FROM workers w
    JOIN pools p ON p.id = w.pool_id JOIN clusters c ON c.id = p.cluster_id WHERE w.id = :worker
    ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp(), detail = excluded.detail
"""
_WELL = """
    DELETE FROM components t USING workers w, pools p, clusters c
    WHERE w.id = :worker AND p.id = w.pool_id AND c.id = p.cluster_id
      AND t.name = c.name || '/' || w.name AND t.kind = 'cluster'
"""


def row_id(connection: Connection, name: str) -> int:
    """The row of a cluster; the one called `in-cluster`, where the launcher itself lives, comes into being when it is
    first named. Raises NotFound."""
    if name == IN_CLUSTER:
        with suppress(Conflict):
            create(connection, CreateCluster(name=IN_CLUSTER, kind=ClusterKind.INCLUSTER))
    known = {row.name: row.id for row in connection.execute(text("SELECT id, name FROM clusters"))}
    if name not in known:
        guess = nearest(name, known)
        hint = f"Did you mean {guess!r}?" if guess else "Add it with `neutrino cluster add`."
        raise NotFound(f"There is no cluster {name!r}.", hint=hint, suggestions=[guess] if guess else [])
    found: int = known[name]
    return found


def create(connection: Connection, cluster: CreateCluster) -> None:
    """Write a reference down. Raises Conflict when the name is taken."""
    statement = """
        INSERT INTO clusters (name, ref) VALUES (:name, CAST(:ref AS jsonb)) ON CONFLICT DO NOTHING RETURNING 1
    """
    values = {"name": cluster.name, "ref": cluster.ref.model_dump_json(exclude_none=True)}
    if connection.execute(text(statement), values).one_or_none() is None:
        raise Conflict(f"There is a cluster {cluster.name} already.", hint="`neutrino cluster list` shows it.")


def ensure(connection: Connection, cluster: CreateCluster) -> None:
    """Write a reference down, in place of an earlier one of that name."""
    statement = """
        INSERT INTO clusters (name, ref) VALUES (:name, CAST(:ref AS jsonb))
        ON CONFLICT (name) DO UPDATE SET ref = excluded.ref WHERE clusters.ref <> excluded.ref
    """
    connection.execute(text(statement), {"name": cluster.name, "ref": cluster.ref.model_dump_json(exclude_none=True)})


def _view(row: Row[Any]) -> ClusterView:
    ref = ClusterRef.model_validate(row.ref)
    return ClusterView(
        **{name: getattr(ref, name) for name in ClusterRef.model_fields},
        name=row.name,
        draining=row.draining,
        trouble=row.trouble,
        heard_at=row.heard_at,
        pools=tuple(row.pools),
        launchers=row.launchers,
        asked_at=row.asked_at,
        checked_at=row.checked_at,
        checks=tuple(Check.model_validate(one) for one in row.checks),
        created_at=row.created_at,
    )


def views(connection: Connection) -> list[ClusterView]:
    """All clusters; they belong to the installation, not to a workspace."""
    rows = connection.execute(text(f"{_VIEWS} ORDER BY c.name"), {"silence": settings.current().silence_seconds})
    return [_view(row) for row in rows]


def get(connection: Connection, name: str) -> ClusterView:
    """One cluster. Raises NotFound."""
    values = {"id": row_id(connection, name), "silence": settings.current().silence_seconds}
    return _view(connection.execute(text(f"{_VIEWS} WHERE c.id = :id"), values).one())


def launchers(connection: Connection, name: str) -> list[int]:
    """The row ids of the workers that launch pods on a cluster and are alive."""
    statement = f"""
        SELECT w.id FROM workers w JOIN pools p ON p.id = w.pool_id WHERE p.cluster_id = :id AND {ONLINE}
    """
    values = {"id": row_id(connection, name), "silence": settings.current().silence_seconds}
    return list(connection.execute(text(statement), values).scalars())


def ask(connection: Connection, name: str) -> None:
    """Let the launchers look at what they may do. Raises Conflict when there is none that could."""
    if not launchers(connection, name):
        raise Conflict(
            f"No launcher of cluster {name} is online, and it is the launcher that looks.",
            hint="Start `python -m workers.launcher` for one of its pools, or check from here with --here.",
        )
    statement = "UPDATE clusters SET asked_at = clock_timestamp() WHERE id = :id"
    connection.execute(text(statement), {"id": row_id(connection, name)})


def found(connection: Connection, worker_id: int, checks: Sequence[Check]) -> None:
    """Write down what a launcher has found."""
    statement = """
        UPDATE clusters SET checked_at = clock_timestamp(), checks = CAST(:checks AS jsonb)
        WHERE id = (SELECT p.cluster_id FROM workers w JOIN pools p ON p.id = w.pool_id WHERE w.id = :worker)
    """
    values = {"worker": worker_id, "checks": json.dumps([check.model_dump(mode="json") for check in checks])}
    connection.execute(text(statement), values)


def heard(connection: Connection, worker_id: int, trouble: str | None) -> None:
    """What a launcher, which is alive, hears of its cluster: nothing, for a while, or that all is well."""
    values = {"worker": worker_id, "trouble": trouble}
    connection.execute(text(_WELL if trouble is None else _TROUBLED), values)


class Wish(NamedTuple):
    """What a launcher is to know of its cluster: whether somebody waits for a look at it, whether it is being drained,
    and the digest of its pool as it is now, empty when that has no cluster any more."""

    asked: bool = False
    draining: bool = False
    digest: str = ""


def wish(connection: Connection, worker_id: int) -> Wish:
    """What is wanted of a launcher, beside pods."""
    statement = f"""
        SELECT coalesce(c.asked_at > coalesce(c.checked_at, '-infinity')
          AND c.asked_at > clock_timestamp() - interval '5 minutes', false) AS asked, c.draining, {_DIGEST} AS digest
        FROM workers w JOIN pools p ON p.id = w.pool_id JOIN clusters c ON c.id = p.cluster_id WHERE w.id = :worker
    """
    row = connection.execute(text(statement), {"worker": worker_id}).one_or_none()
    return Wish() if row is None else Wish(*row)


def drain(connection: Connection, name: str, *, draining: bool) -> ClusterView:
    """Let nothing new start there and what runs checkpoint and go; or undo that. Raises NotFound."""
    statement = "UPDATE clusters SET draining = :draining WHERE id = :id"
    connection.execute(text(statement), {"draining": draining, "id": row_id(connection, name)})
    return get(connection, name)


def remove(connection: Connection, name: str) -> None:
    """Forget a cluster. Its pools keep their history, and have no workers any more. Raises Conflict while jobs run
    there."""
    where = {"id": row_id(connection, name)}
    busy = """
        SELECT count(*) FROM jobs j JOIN pools p ON p.id = j.pool_id
        WHERE p.cluster_id = :id AND j.state IN ('DISPATCHED', 'RUNNING', 'CANCELLING')
    """
    if jobs := connection.execute(text(busy), where).scalar_one():
        raise Conflict(f"Jobs run on cluster {name}: {jobs}.", hint=f"First `neutrino cluster drain {name}`.")
    connection.execute(text("UPDATE pools SET cluster_id = NULL WHERE cluster_id = :id"), where)
    connection.execute(text("DELETE FROM clusters WHERE id = :id"), where)


def pod_pool(connection: Connection, pool_id: int) -> PodPool | None:
    """What a launcher of this pool needs to know; None for a pool of processes."""
    statement = f"""
        SELECT c.name, c.ref, p.pods, p.cloud, p.gpu, {_DIGEST} AS digest
        FROM pools p JOIN clusters c ON c.id = p.cluster_id WHERE p.id = :pool
    """
    row = connection.execute(text(statement), {"pool": pool_id}).one_or_none()
    if row is None:
        return None
    return PodPool(
        cluster_name=row.name,
        cluster=ClusterRef.model_validate(row.ref),
        settings=PodSettings.model_validate(row.pods or {}),
        cloud=row.cloud,
        gpu=row.gpu,
        digest=row.digest,
    )

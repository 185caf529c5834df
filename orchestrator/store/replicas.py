"""Copies of artifacts: made, trusted, retired. Readers follow the verified ones, which `sources` lists, and no others.

A copy begins as `copying`, held by the job that makes it. It becomes `verified` in the transaction that takes the
job's success, under the attempt's fence; if the job ends in any other way the row goes, and what was written is
garbage.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.ids import encode
from orchestrator.domain.protocol import ArtifactUpload
from orchestrator.domain.transfer import Place

REUSED = 8
"""So many related artifacts are looked through for files that need not be sent again."""
FIRST_PAUSE = 600
LONGEST_PAUSE = 7 * 86400
"""Seconds, after a copy could be neither checked nor mended; each time it is twice as long."""


@dataclass(frozen=True, slots=True)
class Near:
    """Where the reader is. What is None is not known."""

    store: str | None = None
    cloud: str | None = None
    region: str | None = None


_SOURCES = """
    SELECT r.store, r.prefix FROM replicas r
    WHERE r.artifact_id = :artifact AND r.state = 'verified'
    ORDER BY coalesce(r.store = :store, false) DESC,
      EXISTS (SELECT FROM pools p WHERE p.store = r.store AND p.cloud = :cloud AND p.region = :region) DESC,
      EXISTS (SELECT FROM pools p WHERE p.store = r.store AND p.cloud = :cloud) DESC,
      r.checked_at DESC, r.store
"""


def sources(connection: Connection, artifact_id: int, near: Near) -> list[Place]:
    """The verified copies of an artifact: first the one in the reader's own store, then those in its region, then those
    on its cloud, then all others."""
    values = {"artifact": artifact_id, "store": near.store, "cloud": near.cloud, "region": near.region}
    return [Place(store=row.store, prefix=row.prefix) for row in connection.execute(text(_SOURCES), values)]


_KIN = """
    SELECT r.prefix FROM replicas r JOIN artifacts o ON o.id = r.artifact_id
    WHERE r.store = :store AND r.state = 'verified' AND o.id <> :artifact
      AND (o.job_id = (SELECT job_id FROM artifacts WHERE id = :artifact)
        OR o.id IN (SELECT other.artifact_id FROM model_versions v
                    JOIN model_versions other ON other.model_id = v.model_id WHERE v.artifact_id = :artifact))
    ORDER BY o.id DESC LIMIT :limit
"""


def reusable(connection: Connection, artifact_id: int, store: str) -> tuple[str, ...]:
    """Prefixes in `store` of artifacts that may share files with this one: other versions of its model, and what else
    its job has published."""
    values = {"artifact": artifact_id, "store": store, "limit": REUSED}
    return tuple(connection.execute(text(_KIN), values).scalars())


# A copy that was lost is mended in place: what of it is whole need not be sent again. `verified_at` of one that was
# never verified is as old as can be, so that the release before this one, which knows no states, looks at it last.
_BEGIN = """
    INSERT INTO replicas (artifact_id, store, prefix, state, job_id, verified_at, checked_at)
    VALUES (:artifact, :store, :prefix, 'copying', :job, 'epoch', NULL)
    ON CONFLICT (artifact_id, store) DO UPDATE SET job_id = excluded.job_id
      WHERE replicas.state = 'lost' AND replicas.job_id IS NULL
    RETURNING 1
"""


def begin(connection: Connection, artifact_id: int, store: str, prefix: str, job_id: int) -> bool:
    """Let a job make a copy, or mend the lost one; False when there is a good one, or somebody is at it."""
    values = {"artifact": artifact_id, "store": store, "prefix": prefix, "job": job_id}
    return connection.execute(text(_BEGIN), values).one_or_none() is not None


def hold(connection: Connection, artifact_id: int, store: str, job_id: int) -> bool:
    """Let a job check a verified copy; False when there is none, or another job is at it."""
    statement = """
        UPDATE replicas SET job_id = :job
        WHERE artifact_id = :artifact AND store = :store AND state = 'verified' AND job_id IS NULL RETURNING 1
    """
    values = {"artifact": artifact_id, "store": store, "job": job_id}
    return connection.execute(text(statement), values).one_or_none() is not None


def find(connection: Connection, artifact_id: int, store: str) -> Any:
    """The row of a copy, or None."""
    statement = "SELECT * FROM replicas WHERE artifact_id = :artifact AND store = :store"
    return connection.execute(text(statement), {"artifact": artifact_id, "store": store}).one_or_none()


def held_by(connection: Connection, job_id: int) -> Any:
    """The copy at which a job is at work, or None when it has gone."""
    return connection.execute(text("SELECT * FROM replicas WHERE job_id = :job"), {"job": job_id}).one_or_none()


_LANDED = """
    UPDATE replicas r SET state = 'verified', verified_at = clock_timestamp(), checked_at = clock_timestamp(),
      changed_at = clock_timestamp(), error = NULL, job_id = NULL, tries = 0, not_before = NULL
    FROM artifacts c
    WHERE c.id = r.artifact_id AND r.job_id = :job AND r.state IN ('copying', 'lost')
      AND r.store = :store AND r.prefix = :prefix AND c.digest = decode(:digest, 'hex')
    RETURNING r.artifact_id
"""


_IS_OWN = """
    SELECT starts_with(:prefix, 'artifacts/' || workspace_id || '/' || :name || '/') FROM jobs WHERE id = :job
"""


def landed(connection: Connection, job_id: int, copy: ArtifactUpload) -> int | None:
    """Make the copy that a job has finished visible to readers; the caller holds its attempt. Returns the artifact's
    row id; None when the copy is no longer wanted, and what was written is garbage."""
    values = {"job": job_id, **copy.model_dump(include={"store", "prefix", "digest"})}
    found: int | None = connection.execute(text(_LANDED), values).scalar()
    # Only what the job itself has written: a report must not be able to name somebody else's files as garbage.
    if found is None and connection.execute(text(_IS_OWN), values | {"name": encode("j", job_id)}).scalar_one():
        throw_away(connection, copy.store, copy.prefix)
    return found


def checked(connection: Connection, job_id: int) -> None:
    """Every byte of the copy that a job was checking is right."""
    statement = """
        UPDATE replicas SET checked_at = clock_timestamp(), error = NULL, job_id = NULL, tries = 0, not_before = NULL
        WHERE job_id = :job
    """
    connection.execute(text(statement), {"job": job_id})


def lose(connection: Connection, artifact_id: int, store: str, why: str) -> str | None:
    """A copy is damaged: nobody reads it from now on. Returns what it was, verified or stale; None when it was neither,
    so that nobody reads it anyway."""
    statement = """
        WITH was AS (
          SELECT state FROM replicas
          WHERE artifact_id = :artifact AND store = :store AND state IN ('verified', 'stale') FOR NO KEY UPDATE
        )
        UPDATE replicas SET state = 'lost', changed_at = clock_timestamp(), error = :why, job_id = NULL,
          tries = 0, not_before = NULL FROM was
        WHERE artifact_id = :artifact AND store = :store RETURNING was.state
    """
    values = {"artifact": artifact_id, "store": store, "why": why}
    before: str | None = connection.execute(text(statement), values).scalar()
    return before


def drop(connection: Connection, artifact_id: int, store: str) -> None:
    """Throw a copy away that nobody wants, without waiting for its readers."""
    statement = """
        WITH gone AS (
          DELETE FROM replicas WHERE artifact_id = :artifact AND store = :store RETURNING store, prefix
        )
        INSERT INTO garbage (store, prefix) SELECT store, prefix FROM gone ON CONFLICT DO NOTHING
    """
    connection.execute(text(statement), {"artifact": artifact_id, "store": store})


_PUT_OFF = f"""
    UPDATE replicas SET job_id = NULL, tries = tries + 1,
      not_before = clock_timestamp() + least({FIRST_PAUSE} * power(2, least(tries, 20)), {LONGEST_PAUSE})
        * interval '1 second'
"""


def abandon(connection: Connection, job_ids: Collection[int]) -> None:
    """Jobs have ended without success: copies that they were making were never there, others stay as they were.
    Those have their turn again after a pause, which grows."""
    statement = f"""
        WITH undone AS (
          DELETE FROM replicas WHERE job_id = ANY(CAST(:jobs AS bigint[])) AND state = 'copying'
          RETURNING store, prefix, artifact_id
        ), thrown AS (
          INSERT INTO garbage (store, prefix, artifact_id) SELECT store, prefix, artifact_id FROM undone
          ON CONFLICT DO NOTHING
        )
        {_PUT_OFF} WHERE job_id = ANY(CAST(:jobs AS bigint[])) AND state <> 'copying'
    """
    connection.execute(text(statement), {"jobs": list(job_ids)})


def retire(connection: Connection, artifact_id: int, store: str) -> None:
    """A copy is not wanted any more: readers stop taking it, and when the last of them is done it is deleted."""
    statement = """
        UPDATE replicas SET state = 'stale', changed_at = clock_timestamp()
        WHERE artifact_id = :artifact AND store = :store AND state = 'verified'
    """
    connection.execute(text(statement), {"artifact": artifact_id, "store": store})


_BRING_BACK = """
    UPDATE replicas r SET state = 'verified', changed_at = clock_timestamp()
    WHERE state = 'stale'
      AND NOT EXISTS (SELECT FROM replicas g WHERE g.artifact_id = r.artifact_id AND g.state = 'verified')
"""
# Under a lock on a good copy, which so stays one; where somebody is about to change it, the next round looks again.
_REMOVE_STALE = """
    WITH idle AS (
      SELECT r.artifact_id, r.store FROM replicas r
      WHERE r.state = 'stale' AND r.job_id IS NULL
        AND r.changed_at < clock_timestamp() - :grace * interval '1 second'
        AND NOT EXISTS (SELECT FROM replicas o
                        WHERE o.artifact_id = r.artifact_id AND o.job_id IS NOT NULL AND o.state <> 'verified')
        AND NOT EXISTS (SELECT FROM readers d
                        WHERE d.artifact_id = r.artifact_id AND d.store = r.store AND d.until > clock_timestamp())
        AND NOT EXISTS (SELECT FROM job_inputs i JOIN attempts a ON a.job_id = i.job_id
                        WHERE i.artifact_id = r.artifact_id AND a.state = 'RUNNING' AND a.staged_at IS NULL
                          AND a.started_at < r.changed_at)
        AND EXISTS (SELECT FROM replicas g WHERE g.artifact_id = r.artifact_id AND g.state = 'verified'
                    FOR SHARE SKIP LOCKED)
      ORDER BY 1, 2 LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED
    ), gone AS (
      DELETE FROM replicas r USING idle WHERE r.artifact_id = idle.artifact_id AND r.store = idle.store
      RETURNING r.store, r.prefix
    )
    INSERT INTO garbage (store, prefix) SELECT store, prefix FROM gone ON CONFLICT DO NOTHING
"""


def remove_stale(connection: Connection, grace: float) -> int:
    """Throw away the copies that were retired `grace` seconds ago and from which nobody reads: no transfer, no attempt
    that takes its inputs, no download; returns how many.
    One that has become the last good copy meanwhile is brought back."""
    connection.execute(text(_BRING_BACK))
    return connection.execute(text(_REMOVE_STALE), {"grace": grace}).rowcount


def throw_away(connection: Connection, store: str, prefix: str) -> None:
    """Have the bytes below a prefix deleted; nobody writes there any more."""
    statement = "INSERT INTO garbage (store, prefix) VALUES (:store, :prefix) ON CONFLICT DO NOTHING"
    connection.execute(text(statement), {"store": store, "prefix": prefix})


def throw_artifacts_away(connection: Connection, artifact_ids: Collection[int]) -> None:
    """Delete artifacts with all of their copies; a job that is making one finds it gone when it is done."""
    statement = """
        WITH copies AS (
          DELETE FROM replicas WHERE artifact_id = ANY(CAST(:ids AS bigint[])) RETURNING store, prefix, state, job_id
        ), thrown AS (
          INSERT INTO garbage (store, prefix, job_id)
          SELECT store, prefix, CASE state WHEN 'verified' THEN NULL ELSE job_id END FROM copies ON CONFLICT DO NOTHING
        )
        DELETE FROM artifacts WHERE id = ANY(CAST(:ids AS bigint[]))
    """
    connection.execute(text(statement), {"ids": list(artifact_ids)})


# A store whose jobs do not get on holds up no copy in another one: what is at work is counted per store.
_MAY_BEGIN = """
    r.job_id IS NULL AND coalesce(r.not_before <= now(), true)
    AND (SELECT count(*) FROM replicas o
         WHERE o.store = r.store AND o.job_id IS NOT NULL AND o.state IN ('verified', 'lost')) < :at_once
"""
# `now()`, and not `clock_timestamp()`, because an index is asked about it.
_DUE = f"""
    SELECT d.artifact_id, d.store, c.workspace_id, m.name || '@' || v.version AS model FROM (
      (SELECT 1 AS turn, r.artifact_id, r.store FROM replicas r JOIN artifacts c ON c.id = r.artifact_id
       WHERE r.state = 'lost' AND {_MAY_BEGIN}
         AND EXISTS (SELECT FROM replicas g WHERE g.artifact_id = r.artifact_id AND g.state = 'verified')
         AND (c.kind <> 'checkpoint' OR EXISTS (SELECT FROM jobs j WHERE j.id = c.job_id AND j.finished_at IS NULL))
       ORDER BY r.changed_at LIMIT 1)
      UNION ALL
      (SELECT 2, r.artifact_id, r.store FROM replicas r
       WHERE r.state = 'verified' AND r.checked_at < now() - :days * interval '1 day' AND {_MAY_BEGIN}
         AND EXISTS (SELECT FROM model_versions v WHERE v.artifact_id = r.artifact_id)
       ORDER BY r.checked_at LIMIT 1)
    ) AS d
    JOIN artifacts c ON c.id = d.artifact_id
    LEFT JOIN model_versions v ON v.artifact_id = c.id
    LEFT JOIN models m ON m.id = v.model_id
    ORDER BY d.turn LIMIT 1
"""


def due(connection: Connection, days: float, at_once: int) -> Any:
    """The copy that was lost for longest and may be mended from a good one, else that of a model which nobody has
    hashed for longest, if that is longer than so many days; None when there is neither. Left out are copies with which
    that has just come to nothing, and stores in which so many are being checked or mended."""
    return connection.execute(text(_DUE), {"days": days, "at_once": at_once}).one_or_none()


def put_off(connection: Connection, artifact_id: int, store: str) -> None:
    """A copy can be neither checked nor mended now: it has its turn again after a pause, which grows."""
    statement = f"{_PUT_OFF} WHERE artifact_id = :artifact AND store = :store AND job_id IS NULL"
    connection.execute(text(statement), {"artifact": artifact_id, "store": store})

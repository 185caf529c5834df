"""Checkpoints: committed under the fence, superseded in order, and found again wherever a job goes next."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from orchestrator.domain.ids import AttemptId
from orchestrator.domain.protocol import ArtifactUpload, CheckpointRef
from orchestrator.domain.spec import Checkpoints
from orchestrator.store import artifacts, replicas

_MOST_SOURCES = 16  # places from which a checkpoint may be had, in one lease

_COMMITTED = """
    SELECT c.id FROM artifacts c JOIN replicas r ON r.artifact_id = c.id
    WHERE c.job_id = :job AND c.epoch = :epoch AND c.kind = 'checkpoint' AND r.store = :store AND r.prefix = :prefix
      AND c.digest = decode(:digest, 'hex')
"""
# Before the statement that looks who reads them: a job that is being submitted may just be taking one as its input.
_HOLD = "SELECT FROM artifacts WHERE job_id = :job AND kind = 'checkpoint' ORDER BY id FOR UPDATE"
# Of every store the newest one stays as well: when a cloud is lost, what another one has is what the job goes on from.
# One that is just being copied stays until that has ended, and one that a job reads until that job has. Copies in other
# stores than the worker's wait as garbage.
_SUPERSEDED = """
WITH ranked AS (
  SELECT c.id, row_number() OVER (ORDER BY c.epoch DESC, c.step DESC, c.id DESC) AS place
  FROM artifacts c WHERE c.job_id = :job AND c.kind = 'checkpoint'
), newest AS (
  SELECT DISTINCT ON (r.store) r.artifact_id FROM replicas r JOIN ranked ON ranked.id = r.artifact_id
  WHERE r.state = 'verified' ORDER BY r.store, ranked.place
), old AS (
  SELECT id FROM ranked
  WHERE place > coalesce((SELECT (document #>> '{spec,checkpoints,keep}')::int FROM jobs WHERE id = :job), :keep)
    AND id NOT IN (SELECT artifact_id FROM newest)
    AND id NOT IN (SELECT r.artifact_id FROM replicas r WHERE r.artifact_id = ranked.id AND r.state = 'copying')
    AND NOT EXISTS (SELECT FROM job_inputs i JOIN jobs u ON u.id = i.job_id
                    WHERE i.artifact_id = ranked.id AND u.finished_at IS NULL)
), copies AS (
  DELETE FROM replicas r USING old WHERE r.artifact_id = old.id RETURNING r.store, r.prefix
), gone AS (
  DELETE FROM artifacts a USING old WHERE a.id = old.id
), elsewhere AS (
  INSERT INTO garbage (store, prefix) SELECT store, prefix FROM copies WHERE store <> :store ON CONFLICT DO NOTHING
)
SELECT prefix FROM copies WHERE store = :store ORDER BY prefix
"""


def commit(connection: Connection, attempt: AttemptId, step: int, upload: ArtifactUpload) -> tuple[int, list[str]]:
    """Make an upload the job's newest checkpoint; the caller holds the attempt. Returns its row id and the prefixes in
    the same store that nothing refers to any more. Committed twice, because the first answer got lost, it is one."""
    named = {"job": attempt.job_id, "epoch": attempt.epoch}
    where = upload.model_dump(include={"store", "prefix", "digest"})
    known = connection.execute(text(_COMMITTED), named | where).scalar()
    if known is not None:
        return known, []
    made = artifacts.insert(connection, "checkpoint", attempt, upload, step)
    connection.execute(text(_GRANTED), named)
    connection.execute(text(_HOLD), {"job": attempt.job_id})
    values = {"job": attempt.job_id, "store": upload.store, "keep": Checkpoints().keep}
    return made, list(connection.execute(text(_SUPERSEDED), values).scalars())


_GRANTED = """
    UPDATE attempts SET asked = NULL WHERE job_id = :job AND epoch = :epoch AND asked = 'checkpoint'
"""
_RESUMABLE = """
    SELECT c.job_id, c.step, encode(c.digest, 'hex') AS digest, r.store, r.prefix
    FROM artifacts c JOIN replicas r ON r.artifact_id = c.id CROSS JOIN (SELECT * FROM pools WHERE id = :pool) AS here
    WHERE c.job_id = ANY(CAST(:jobs AS bigint[])) AND c.kind = 'checkpoint' AND r.state = 'verified'
    ORDER BY c.job_id, c.epoch DESC, c.step DESC, c.id DESC, r.store = here.store DESC,
      r.store IN (SELECT p.store FROM pools p WHERE p.cloud = here.cloud) DESC, r.verified_at DESC
"""


def resumable(connection: Connection, job_ids: Sequence[int], pool_id: int) -> dict[int, list[CheckpointRef]]:
    """From where each of these jobs can go on in a pool: the newest checkpoint first, its nearest copy first."""
    found: dict[int, list[CheckpointRef]] = {}
    if not job_ids:
        return found
    for row in connection.execute(text(_RESUMABLE), {"jobs": list(job_ids), "pool": pool_id}):
        sources = found.setdefault(row.job_id, [])
        if len(sources) < _MOST_SOURCES:
            sources.append(CheckpointRef(step=row.step, store=row.store, prefix=row.prefix, digest=row.digest))
    return found


# Their jobs are held, so that nobody takes them up again meanwhile, and they themselves, so that no job begins to read.
_LONG_ENDED = """
    SELECT c.id FROM artifacts c JOIN jobs j ON j.id = c.job_id
    WHERE c.kind = 'checkpoint' AND j.finished_at < now() - :days * interval '1 day'
      AND NOT EXISTS (SELECT FROM replicas r WHERE r.artifact_id = c.id AND r.job_id IS NOT NULL)
    ORDER BY c.job_id, c.id LIMIT 1000 FOR NO KEY UPDATE OF j SKIP LOCKED FOR UPDATE OF c SKIP LOCKED
"""
_UNREAD = """
    SELECT c.id FROM artifacts c WHERE c.id = ANY(CAST(:ids AS bigint[]))
      AND NOT EXISTS (SELECT FROM job_inputs i JOIN jobs u ON u.id = i.job_id
                      WHERE i.artifact_id = c.id AND coalesce(u.finished_at > now() - :days * interval '1 day', true))
      AND NOT EXISTS (SELECT FROM readers d WHERE d.artifact_id = c.id AND d.until > now())
"""


def forget_ended(connection: Connection, days: float) -> int:
    """Throw away the checkpoints of jobs that ended so many days ago, but for those that are being copied or checked,
    that somebody downloads, or that another job reads which has not ended for as long. Returns how many."""
    held = list(connection.execute(text(_LONG_ENDED), {"days": days}).scalars())
    unread = list(connection.execute(text(_UNREAD), {"ids": held, "days": days}).scalars()) if held else []
    replicas.throw_artifacts_away(connection, unread)
    return len(unread)

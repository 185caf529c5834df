"""Fills a database with a history of jobs and attempts, as a busy installation has it after some months."""

from __future__ import annotations

import psycopg

from orchestrator.store.session import Database

# Skewed on purpose: most jobs succeeded, few failed, one user and one label rule, some labels are on every second job.
_JOBS = """
INSERT INTO jobs (workspace_id, name, kind, user_name, labels, document, spec_hash, shape, reason, message, epoch,
  created_at)
SELECT %(workspace)s, 'job-' || (n %% 5000), CASE WHEN n %% 10 = 0 THEN 'Train' ELSE 'Command' END,
  'user-' || floor(sqrt(random() * 400)),
  jsonb_build_object('team', 'team-' || (n %% 20), 'half', CASE WHEN n %% 2 = 0 THEN 'yes' ELSE 'no' END,
    'rare', 'r' || (n / 1000)),
  '{"apiVersion": "neutrino/v1", "kind": "Command", "metadata": {"name": "seeded"}, "spec": {"command": ["true"]}}',
  decode(md5(n::text) || md5(n::text), 'hex'), '{}', 'submitted', 'Seeded.', 1,
  clock_timestamp() - (%(count)s - n) * interval '5 seconds'
FROM generate_series(1, %(count)s) AS n
"""
_STATES = """
UPDATE jobs SET
  state = CASE WHEN id % 50 = 0 THEN 'FAILED' WHEN id % 333 = 0 THEN 'CANCELLED' ELSE 'SUCCEEDED' END,
  reason = CASE WHEN id % 5000 = 0 THEN 'oom' WHEN id % 50 = 0 THEN 'user_error'
    WHEN id % 333 = 0 THEN 'cancelled_by_user' ELSE 'succeeded' END,
  started_at = created_at + interval '1 second',
  finished_at = created_at + interval '1 second' * (2 + hashint8(id) % 10000 / 10.0 + 1000),
  pool_id = (SELECT min(id) FROM pools)
"""
_WORKER = """
INSERT INTO workers (pool_id, name, host, pid, slots, version) SELECT min(id), 'seeded', 'here', 1, 64, '0' FROM pools
"""
_ATTEMPTS = """
INSERT INTO attempts (job_id, epoch, worker_id, pool_id, state, reason, token_hash, started_at, finished_at)
SELECT j.id, 1, w.id, j.pool_id, j.state, j.reason, '', j.started_at, j.finished_at
FROM jobs j, workers w WHERE w.name = 'seeded' ORDER BY j.finished_at
"""
_NAMES = "INSERT INTO job_names (workspace_id, name) SELECT DISTINCT workspace_id, name FROM jobs"
_LABELS = """
INSERT INTO job_labels (workspace_id, key, value, job_id)
SELECT j.workspace_id, pair.key, pair.value, j.id FROM jobs j, jsonb_each_text(j.labels) AS pair
"""


def history(database: Database, workspace_id: int, count: int) -> None:
    """Put `count` finished jobs into an empty database. The guards are off meanwhile: no job ends this way."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    # On a connection of its own: no statement of the product may take minutes.
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.transaction():
            connection.execute("ALTER TABLE jobs DISABLE TRIGGER USER")
            connection.execute(_JOBS, {"workspace": workspace_id, "count": count})
            for statement in (_STATES, _LABELS, _NAMES, _WORKER, _ATTEMPTS):
                connection.execute(statement)
            connection.execute("ALTER TABLE jobs ENABLE TRIGGER USER")
        for table in ("jobs", "job_labels", "job_names", "attempts"):
            connection.execute(psycopg.sql.SQL("VACUUM (FREEZE, ANALYZE) {}").format(psycopg.sql.Identifier(table)))

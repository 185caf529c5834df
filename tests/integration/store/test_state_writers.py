"""One function changes states, and no other code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.store.state_writers import violations

ROOT = Path(__file__).parents[3]
DOOR = ROOT / "orchestrator" / "store" / "transitions.py"
TABLES = set((ROOT / "orchestrator" / "store").glob("*tables.py"))  # declare the tables; the schema, not writers


def test_no_code_but_the_one_door_writes_a_state() -> None:
    modules = [
        path for package in ("orchestrator", "workers", "cloud_adapters") for path in (ROOT / package).rglob("*.py")
    ]
    assert len(modules) > 50
    found = {path.name: violations(path) for path in modules if path not in {DOOR, *TABLES}}
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_the_one_door_is_seen_to_write_states() -> None:
    """If this fails, the search above finds nothing because it cannot, and not because there is nothing."""
    assert {fault.split(": ")[1] for fault in violations(DOOR)} == {"updates a state", "begins an attempt"}


@pytest.mark.parametrize(
    "planted",
    [
        "connection.execute(text(\"UPDATE jobs SET state = 'FAILED' WHERE id = 1\"))",
        "connection.execute(text(\"update jobs j set reason = 'x', state = :state where id = 1\"))",
        'text("UPDATE public.jobs AS j SET state=:state")',
        'text("UPDATE attempts SET finished_at = clock_timestamp(), state = :s FROM jobs")',
        'text("UPDATE jobs SET (state, reason) = (:a, :b)")',
        'text("UPDATE jobs SET (reason, state) = (:a, :b)")',
        'text("UPDATE jobs SET reason = coalesce(:a, reason), state = :b")',
        'text(f"UPDATE jobs SET {column} = 1")',
        'text(f"UPDATE {table} SET state = 1")',
        'text("UPDATE jobs SET %s = 1" % column)',
        'text("UPDATE jobs SET {} = 1".format(column))',
        'text("UPDATE jobs " + "SET state = 1")',
        'text("WITH a AS (SELECT 1) UPDATE jobs SET state = 1")',
        'text("INSERT INTO jobs (name, state) VALUES (1, 2)")',
        'text("INSERT INTO jobs SELECT * FROM old_jobs")',
        'text("INSERT INTO attempts (job_id, epoch) VALUES (1, 2)")',
        'cursor.copy("COPY jobs FROM STDIN")',
        "from sqlalchemy import update",
        "from sqlalchemy import select, insert",
        "from sqlalchemy.dialects.postgresql import insert",
        "from sqlalchemy.orm import Session",
        "from orchestrator.store import tables",
        "from orchestrator.store.tables import jobs",
        "import orchestrator.store.tables",
    ],
)
def test_a_planted_writer_is_found(tmp_path: Path, planted: str) -> None:
    module = tmp_path / "planted.py"
    module.write_text(f"column = table = 'state'\n{planted}\n")
    assert len(violations(module)) == 1


@pytest.mark.parametrize(
    "innocent",
    [
        'text("SELECT state FROM jobs WHERE state = 1")',
        "text(\"UPDATE jobs SET reason = 1 WHERE state = 'RUNNING'\")",
        'text("UPDATE attempts a SET lease_expires_at = 1 FROM x WHERE a.state = 1")',
        'text("UPDATE tokens SET state = 1")',
        'text("INSERT INTO jobs (name, kind) VALUES (1, 2)")',
        "from sqlalchemy import select, text",
    ],
)
def test_an_innocent_statement_is_not_blamed(tmp_path: Path, innocent: str) -> None:
    module = tmp_path / "innocent.py"
    module.write_text(innocent)
    assert violations(module) == []

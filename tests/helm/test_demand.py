"""The query by which KEDA sizes a pool, against the placement that it has to foresee."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import orchestrator as nu
from orchestrator.domain.placement import PoolState, Shape, place
from orchestrator.domain.spec import Cloud, JobSpec
from orchestrator.domain.views import CreatePool
from orchestrator.store import jobs, pools, tokens
from orchestrator.store.session import Database
from tests.helm.chart import render

SPECS: list[dict[str, Any]] = [
    {},
    {"resources": {"gpu": "L4:1"}},
    {"resources": {"gpu": "L4"}},
    {"resources": {"gpu": "L4:2"}},
    {"resources": {"gpu": "A100:1"}},
    {"resources": {"nodes": 2}},
    {"image": "example.com/train:1"},
    {"runtime": "pod"},
    {"runtime": "process"},
    {"placement": {"clouds": ["aws", "gcp"]}},
    {"placement": {"clouds": ["aws"]}},
    {"placement": {"pool": "cpu"}},
    {"placement": {"pool": "l4"}},
    {"placement": {"pool": "l4", "clouds": ["azure"]}},
    {"resources": {"gpu": "L4:1"}, "placement": {"clouds": ["gcp"], "pool": "l4"}},
]
POOLS: dict[str, dict[str, Any]] = {
    "cpu": {"kind": "workers", "cloud": "aws", "slots": 3},
    "l4": {"kind": "workers", "cloud": "gcp", "gpu": "L4:1", "slots": 1},
}


@pytest.fixture(scope="module")
def triggers() -> dict[str, dict[str, str]]:
    scaled = {name: pool | {"autoscaling": {"enabled": True, "maxReplicas": 4}} for name, pool in POOLS.items()}
    release = render({"pools": scaled, "store": {"uri": "s3://bucket"}})
    found = {
        one["metadata"]["labels"]["neutrino.dev/pool"]: one["spec"]["triggers"][0] for one in release.of("ScaledObject")
    }
    return {name: trigger["metadata"] for name, trigger in found.items()}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    with database.transaction() as connection:
        tokens.ensure_workspace(connection, "default")
        for name, pool in POOLS.items():
            pools.create(
                connection, CreatePool(name=name, cloud=Cloud(pool["cloud"]), gpu=pool.get("gpu"), store="s3://b")
            )
    yield database
    database.close()


def _count(database_url: str, trigger: dict[str, str]) -> int:
    with psycopg.connect(database_url.replace("+psycopg", "", 1)) as connection:
        row = connection.execute(trigger["query"].encode()).fetchone()
        assert row is not None
        return int(row[0])


def _submit(database: Database, wanted: dict[str, Any]) -> JobSpec:
    spec = nu.Command(name="any", command=("true",), **wanted)
    with database.transaction() as connection:
        jobs.submit(connection, tokens.ensure_workspace(connection, "default"), "ada", [spec])
    return spec


def _could_run(spec: JobSpec, name: str) -> bool:
    pool = POOLS[name]
    state = PoolState(1, name, pool["cloud"], pool.get("gpu"), workers=1, slots=1, running=0, dispatched=0)
    shape = Shape.of(spec)
    fits = bool(place(shape, [state]).pools)
    return fits and (shape.gpu is not None or shape.pool is not None or state.gpu is None)


def test_it_counts_the_jobs_that_could_run_there(
    database: Database, database_url: str, triggers: dict[str, dict[str, str]]
) -> None:
    waiting = dict.fromkeys(POOLS, 0)
    for wanted in SPECS:
        spec = _submit(database, wanted)
        for name, trigger in triggers.items():
            waiting[name] += _could_run(spec, name)
            most = POOLS[name]["slots"] * 4
            assert _count(database_url, trigger) == min(waiting[name], most), (wanted, name)
    assert all(waiting.values())


def test_it_counts_a_job_that_was_moved_to_its_cloud(
    database: Database, database_url: str, triggers: dict[str, dict[str, str]]
) -> None:
    shape = Shape.of(_submit(database, {"placement": {"clouds": ["aws"]}})).model_copy(update={"moved_to": Cloud.GCP})
    with psycopg.connect(database_url.replace("+psycopg", "", 1)) as connection:
        connection.execute("UPDATE jobs SET shape = %s", (shape.key(),))
    assert [_count(database_url, triggers[name]) for name in ("cpu", "l4")] == [0, 0]
    with_gpu = shape.model_copy(update={"gpu": "L4:1"})
    with psycopg.connect(database_url.replace("+psycopg", "", 1)) as connection:
        connection.execute("UPDATE jobs SET shape = %s", (with_gpu.key(),))
    assert [_count(database_url, triggers[name]) for name in ("cpu", "l4")] == [0, 1]


def test_it_wants_one_replica_for_each_handful_of_slots(triggers: dict[str, dict[str, str]]) -> None:
    assert triggers["cpu"]["targetQueryValue"] == "3"


def test_it_counts_what_runs_or_is_on_its_way(
    database: Database, database_url: str, triggers: dict[str, dict[str, str]]
) -> None:
    for _ in range(20):
        _submit(database, {})
    assert _count(database_url, triggers["cpu"]) == 12  # as many as the largest pool could run
    with psycopg.connect(database_url.replace("+psycopg", "", 1)) as connection:
        moved = "UPDATE jobs SET state = 'DISPATCHED', pool_id = (SELECT id FROM pools WHERE name = 'cpu')"
        connection.execute(moved)
    assert _count(database_url, triggers["cpu"]) == 20
    assert _count(database_url, triggers["l4"]) == 0

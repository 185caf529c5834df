"""The first rows of a database, made by whoever installs: as often as wanted, with secrets that are kept elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from orchestrator.bootstrap import Wanted, bootstrap
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.pods import ClusterKind, CreateCluster
from orchestrator.domain.spec import Cloud
from orchestrator.domain.views import CreatePool
from orchestrator.store import clusters, pools, tokens
from orchestrator.store.session import Database

ADMIN = "nu_" + "a" * 40
OTHER = "nu_" + "b" * 40
WORKER = "nu_" + "w" * 40


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def _role(database: Database, secret: str) -> str | None:
    with database.transaction() as connection:
        principal = tokens.authenticate(connection, secret)
    return principal.role if principal else None


def test_given_secrets_are_put_in_force_once_and_told_to_nobody(database: Database) -> None:
    wanted = Wanted("file:///srv", (), ADMIN, WORKER)
    for _ in range(2):
        assert bootstrap(database, wanted) == {"admin_token": None, "worker_token": None}
    assert (_role(database, ADMIN), _role(database, WORKER)) == ("admin", "worker")
    with database.transaction() as connection:
        workspace = tokens.ensure_workspace(connection, "default")
        assert len(tokens.page(connection, workspace, before=None, limit=10)[0]) == 2


def test_another_secret_replaces_the_one_before(database: Database) -> None:
    bootstrap(database, Wanted("file:///srv", (), ADMIN, WORKER))
    bootstrap(database, Wanted("file:///srv", (), OTHER, WORKER))
    assert (_role(database, ADMIN), _role(database, OTHER), _role(database, WORKER)) == (None, "admin", "worker")


def test_a_revoked_secret_stays_revoked(database: Database) -> None:
    wanted = Wanted("file:///srv", (), ADMIN, WORKER)
    bootstrap(database, wanted)
    with database.transaction() as connection:
        tokens.revoke_named(connection, tokens.ensure_workspace(connection, "default"), "bootstrap-admin")
    bootstrap(database, wanted)
    assert _role(database, ADMIN) is None


def test_listed_pools_are_made_and_later_made_what_the_list_says(database: Database) -> None:
    first = CreatePool(name="gpu", cloud=Cloud.AWS, region="us-east-1", gpu="L4:1", store="s3://one")
    bootstrap(database, Wanted(pools=(first,)))
    bootstrap(database, Wanted(pools=(CreatePool(name="gpu", cloud=Cloud.GCP, gpu="T4:2", store="gs://two"),)))
    with database.transaction() as connection:
        (state,) = pools.states(connection)
    assert (state.name, state.cloud, state.gpu) == ("gpu", "gcp", "T4:2")


def test_listed_clusters_are_made_before_the_pools_on_them(database: Database) -> None:
    pool = CreatePool(name="far", store="s3://one", cluster="europe")
    for region in ("eu-west-1", "eu-west-2"):
        europe = CreateCluster(name="europe", kind=ClusterKind.EKS, cluster="training", region=region)
        bootstrap(database, Wanted(clusters=(europe,), pools=(pool,)))
    with database.transaction() as connection:
        view = clusters.get(connection, "europe")
    assert (view.region, view.pools) == ("eu-west-2", ("far",))


def test_a_pool_on_an_unknown_cluster_holds_up_nothing_else(database: Database) -> None:
    far = CreatePool(name="far", store="s3://one", cluster="europe")
    near = CreatePool(name="near", store="s3://one", cluster="in-cluster")
    with pytest.raises(NeutrinoError, match=r"Pool far: There is no cluster 'europe'"):
        bootstrap(database, Wanted(pools=(far, near), admin_secret=ADMIN))
    assert _role(database, ADMIN) == "admin"
    with database.transaction() as connection:
        assert [pool.name for pool in pools.states(connection)] == ["near"]


def test_the_pool_of_one_machine_is_left_as_it_is(database: Database) -> None:
    for store in ("file:///one", "file:///two"):
        bootstrap(database, Wanted(store))
    with database.transaction() as connection:
        assert [pool.name for pool in pools.states(connection)] == ["local"]


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "NEUTRINO_STORE is not set"),
        ({"NEUTRINO_POOLS": "[{]"}, "NEUTRINO_POOLS is wrong"),
        ({"NEUTRINO_POOLS": '[{"name": "gpu"}]'}, r"NEUTRINO_POOLS is wrong at \[0\].store: is required"),
        (
            {"NEUTRINO_POOLS": '[{"name": "gpu", "store": "s3://b", "gpu": "L4:x"}]'},
            r"NEUTRINO_POOLS is wrong at \[0\].gpu",
        ),
        (
            {"NEUTRINO_CLUSTERS": '[{"name": "a", "kind": "eks"}]', "NEUTRINO_STORE": "file:///x"},
            "needs cluster and region",
        ),
        ({"NEUTRINO_STORE": "file:///x", "NEUTRINO_ADMIN_TOKEN": "admin"}, "NEUTRINO_ADMIN_TOKEN is no token"),
        ({"NEUTRINO_STORE": "file:///x", "NEUTRINO_WORKER_TOKEN": "x" * 50}, "NEUTRINO_WORKER_TOKEN is no token"),
    ],
)
def test_nonsense_is_named(env: dict[str, str], words: str) -> None:
    with pytest.raises(NeutrinoError, match=words):
        Wanted.from_env(env)


def test_the_command_prints_no_secret_that_it_was_given(database_url: str) -> None:
    pool = json.dumps([{"name": "local", "store": "file:///srv"}])
    env = {"DATABASE_URL": database_url, "NEUTRINO_POOLS": pool, "NEUTRINO_ADMIN_TOKEN": ADMIN}
    command = [sys.executable, "-m", "orchestrator.bootstrap"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=True)
    made = json.loads(done.stdout)
    assert made["admin_token"] is None
    assert made["worker_token"].startswith("nu_")
    assert ADMIN not in done.stdout + done.stderr

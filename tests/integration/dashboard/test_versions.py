"""What people do with a version of a model on its page: copy, check, name, delete; each as the API would do it."""

from __future__ import annotations

import httpx
import pytest
from psycopg.types.json import Jsonb

from orchestrator.domain.ids import decode
from orchestrator.domain.views import CreatePool
from orchestrator.store import pools
from orchestrator.store.session import Database
from tests.integration.api.client import Api
from tests.integration.dashboard.conftest import SignIn, csrf

_MODEL = """
    WITH model AS (
      INSERT INTO models (workspace_id, name, versions) SELECT workspace_id, 'digits', 1 FROM jobs WHERE id = %(job)s
      ON CONFLICT (workspace_id, name) DO UPDATE SET versions = models.versions + 1 RETURNING id, workspace_id, versions
    ), artifact AS (
      INSERT INTO artifacts (workspace_id, kind, job_id, epoch, digest, size, files)
      SELECT workspace_id, 'model', %(job)s, 1, sha256('x'), 5000000000, 3 FROM model RETURNING id
    ), copy AS (
      INSERT INTO replicas (artifact_id, store, prefix)
      SELECT artifact.id, (SELECT store FROM pools WHERE name = 'local'), 'p' || artifact.id FROM artifact
    )
    INSERT INTO model_versions (model_id, version, artifact_id, job_id, metrics, lineage)
    SELECT model.id, model.versions, artifact.id, %(job)s, %(metrics)s, %(lineage)s FROM model, artifact
    RETURNING version
"""


@pytest.fixture
def version(api: Api, database: Database) -> int:
    """The number of a version that has one copy, beside a pool of another cloud with a store of its own."""
    job = decode("j", api.submit())
    with database.transaction() as connection:
        pools.ensure(connection, CreatePool(name="far", cloud="gcp", region="europe-west4", store="gs://far"))
        values = {"job": job, "metrics": Jsonb({"val/accuracy": 0.97}), "lineage": Jsonb({"dataset": "s3://data"})}
        return int(connection.exec_driver_sql(_MODEL, values).scalar_one())


def _did(database: Database) -> tuple[str, str]:
    """The newest entry of the audit log: what was done, and to what."""
    with database.transaction() as connection:
        row = connection.exec_driver_sql("SELECT action, target FROM audit ORDER BY at DESC LIMIT 1").one()
    return row.action, row.target


def _post(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    return client.post(path, data={"csrf": csrf(client), **fields})


def test_it_is_copied_after_a_look_at_what_that_takes(sign_in: SignIn, database: Database, version: int) -> None:
    client, page = sign_in("submitter"), f"/models/digits/{version}"
    assert "gs://far" in client.get(page).text
    plan = client.get(f"{page}/migrate?to=far&move=true").text
    assert "4.7 GiB" in plan
    assert "is deleted afterwards" in plan
    answer = _post(client, f"{page}/migrate", to="gs://far")
    assert (answer.status_code, answer.headers["Location"]) == (303, page)
    assert _did(database) == ("migrate_model", f"digits@{version} from {_local(database)} to gs://far")
    now = client.get(page).text
    assert "Copying" in now
    assert "It is in the store of every pool already." in now
    assert _post(client, f"{page}/migrate", to="gs://far").status_code == 409
    assert _post(client, f"{page}/migrate", to="nowhere").status_code == 404
    with database.transaction() as connection:
        document = connection.exec_driver_sql("SELECT document FROM jobs WHERE kind = 'Transfer'").scalar_one()
    assert document["spec"]["model"] == f"digits@{version}"
    assert "move" not in document["spec"]


def _local(database: Database) -> str:
    with database.transaction() as connection:
        return str(connection.exec_driver_sql("SELECT store FROM pools WHERE name = 'local'").scalar_one())


def test_it_is_checked_once_at_a_time(sign_in: SignIn, database: Database, version: int) -> None:
    client, page = sign_in("submitter"), f"/models/digits/{version}"
    assert _post(client, f"{page}/verify").status_code == 303
    assert _did(database) == ("verify_model", f"digits {version}")
    assert _post(client, f"{page}/verify").status_code == 409


def test_aliases_point_and_protect(sign_in: SignIn, database: Database, version: int) -> None:
    client, page = sign_in("submitter"), f"/models/digits/{version}"
    assert _post(client, f"{page}/alias", alias=" prod ").status_code == 303
    assert _did(database) == ("alias_model", f"digits@prod is digits@{version}")
    assert "Point it at another version first" in client.get(f"{page}/delete").text
    assert _post(client, f"{page}/delete").status_code == 409
    for nonsense in ("", "<b>", "latest", "7", "x" * 200):
        assert _post(client, f"{page}/alias", alias=nonsense).status_code in {409, 422}
    assert _post(client, "/models/digits/aliases/prod/remove").status_code == 303
    assert _post(client, "/models/digits/aliases/prod/remove").status_code == 404


def test_it_is_deleted_after_it_was_said_what_that_means(sign_in: SignIn, database: Database, version: int) -> None:
    client, page = sign_in("submitter"), f"/models/digits/{version}"
    assert f"Delete digits@{version} for good?" in client.get(f"{page}/delete").text
    answer = _post(client, f"{page}/delete")
    assert answer.status_code == 303
    assert client.get(answer.headers["Location"]).status_code == 200
    assert client.get(page).status_code == 404
    assert _did(database) == ("delete_model", f"digits@{version} and its copies: 1")


def test_viewers_look_and_strangers_see_nothing(sign_in: SignIn, version: int) -> None:
    viewer, stranger, page = sign_in("viewer"), sign_in("stranger"), f"/models/digits/{version}"
    shown = viewer.get(page).text
    assert "val/accuracy" in shown
    assert f'action="{page}' not in shown
    for path in ("migrate?to=far", "delete"):
        assert viewer.get(f"{page}/{path}").status_code == 403
    for path in ("migrate", "verify", "alias", "delete"):
        assert _post(viewer, f"{page}/{path}", to="far", alias="prod").status_code == 403
        assert _post(stranger, f"{page}/{path}", to="far", alias="prod").status_code == 404
    assert stranger.get(page).status_code == 404

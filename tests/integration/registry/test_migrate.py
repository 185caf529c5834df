"""Models go from cloud to cloud: every byte arrives, or nothing is seen."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from cloud_adapters.base import join_key
from cloud_adapters.registry import open_store
from orchestrator.domain.errors import Conflict, JobCancelled, JobFailed, NotFound, PermissionDenied
from orchestrator.domain.ids import decode, encode
from orchestrator.domain.spec import Cloud
from orchestrator.domain.views import CreatePool
from tests.contract import servers
from tests.contract.faulty import Before, Verdict, faulty
from tests.integration.moves.clouds import Clouds, until
from tests.integration.registry.models import clean, copy_in, hashes, keys, make, states, until_states

SLOW = 400_000  # bytes per second


def refusing(status: int) -> Before:
    """A store that may be read, and answers everything else with a status."""
    return lambda seen: None if seen.method == "GET" else Verdict(status)


def test_moved_round_the_clouds_every_byte_arrives_and_nothing_stays_behind(clouds: Clouds, tmp_path: Path) -> None:
    model = make(clouds, "traveller", size=3_000_000)
    home = hashes(model.download(tmp_path / "home"))
    assert states(model) == {"aws": "verified"}
    made = []
    for to in ("gcp", "azure", "aws"):
        plan = model.plan(to)
        assert (plan.bytes_to_move, plan.total_bytes, plan.files) == (12_000_000, 12_000_000, 4)
        assert plan.destination == clouds.stores[to]
        migration = model.migrate(to, move=True).wait(timeout=120)
        assert migration.view.moved_bytes == 12_000_000
        made.append(migration.id)
        until_states(model, {to: "verified"})
        assert hashes(model.download(tmp_path / to, near=to)) == home
    clean(clouds)
    assert not any(f"/{one}/copy/" in key for one in made for cloud in ("gcp", "azure") for key in keys(clouds, cloud))
    (job,) = clouds.sql("SELECT count(*) AS n, min(kind) AS kind FROM jobs WHERE name = 'migrate-traveller'")
    assert (job.n, job.kind) == (3, "Transfer")


def test_version_two_moves_only_what_changed(clouds: Clouds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(clouds, "growing", files=20).migrate("gcp").wait(timeout=120)
    second = make(clouds, "growing", files=20, seed=2, changed=2)
    assert (second.ref, second.plan("gcp").bytes_to_move) == ("growing@2", 100_000)
    assert second.plan("gcp", limit=1024).seconds > 100_000 / 1024
    migration = second.migrate("gcp").wait(timeout=120)
    assert migration.view.moved_bytes == 100_000
    monkeypatch.setenv("NEUTRINO_NEAR", "nowhere")
    with pytest.raises(NotFound, match="nowhere"):
        second.download(tmp_path / "far")
    monkeypatch.setenv("NEUTRINO_NEAR", "gcp")
    there = hashes(second.download(tmp_path / "there"))
    assert there == hashes(second.download(tmp_path / "here", near="aws"))


def test_a_damaged_copy_is_passed_over_found_and_mended(clouds: Clouds, tmp_path: Path) -> None:
    model = make(clouds, "fragile")
    home = hashes(model.download(tmp_path / "home"))
    model.migrate("gcp").wait(timeout=120)
    (row,) = clouds.sql(
        "SELECT prefix FROM replicas WHERE store = %s AND artifact_id = %s",
        clouds.stores["gcp"],
        decode("a", model.view.artifact.id),
    )
    store, key = open_store(clouds.stores["gcp"]), join_key(row.prefix, "part-02.bin")
    data = bytearray(store.head(key).size)
    store.read_into(key, memoryview(data))
    data[len(data) // 2] ^= 1
    store.put(key, bytes(data))

    for whole in model.verify("aws"):
        whole.wait(timeout=120)
    assert hashes(model.download(tmp_path / "passed-over", near="gcp")) == home
    # A reader's bad luck marks nothing; that the copy is checked at once is what it leads to.
    (check,) = clouds.sql("SELECT id FROM jobs WHERE name = 'verify-fragile' AND user_name = 'neutrino'")
    with pytest.raises(JobFailed, match=r"part-02\.bin") as failed:
        clouds.client.jobs.get(encode("j", check.id)).wait(timeout=120)
    assert failed.value.reason == "damaged"
    until_states(model, {"aws": "verified", "gcp": "verified"})
    mended = next(one.view for one in clouds.client.migrations.list(model="fragile") if one.view.user == "neutrino")
    assert (mended.moved_bytes, mended.destination) == (50_000, clouds.stores["gcp"])
    assert hashes(model.download(tmp_path / "mended", near="gcp")) == home
    for again in model.verify():
        again.wait(timeout=120)


def test_a_cancelled_migration_leaves_nothing(clouds: Clouds) -> None:
    model = make(clouds, "hesitant", files=20)
    migration = model.migrate("gcp", limit=SLOW // 4)
    assert states(model) == {"aws": "verified", "gcp": "copying"}
    prefix = f"{migration.id}/copy/part"
    until(lambda: any(prefix in key for key in keys(clouds, "gcp")))
    migration.cancel()
    with pytest.raises(JobCancelled):
        migration.wait(timeout=120)
    assert states(model) == {"aws": "verified"}
    clean(clouds)
    with pytest.raises(Conflict, match="cleared away"):
        clouds.client.jobs.get(migration.id).retry()
    model.migrate("gcp").wait(timeout=120)


@pytest.mark.fault
def test_whatever_is_killed_it_is_not_yet_or_done(clouds: Clouds, tmp_path: Path) -> None:
    """kill -9 of the worker, the schedulers and the API in mid-transfer, one after the other."""
    model = make(clouds, "stubborn", files=20, size=100_000)
    migration = model.migrate("azure", limit=SLOW)
    landed = f"{migration.id}/copy/part"
    until(lambda: sum(landed in key for key in keys(clouds, "azure")) >= 2)
    running = (
        "SELECT p.name FROM attempts a JOIN pools p ON p.id = a.pool_id WHERE a.state = 'RUNNING' AND a.job_id = %s"
    )
    (attempt,) = clouds.sql(running, decode("j", migration.id))
    clouds.kill_worker(attempt.name, signal.SIGKILL)
    assert states(model)["azure"] == "copying"
    clouds.start_workers(attempt.name)
    until(lambda: migration.refresh().view.progress)
    for child in clouds.stack.status().children:
        if child.name.startswith(("scheduler", "api")) and child.running is not None:
            os.kill(child.running.identity.pid, signal.SIGKILL)
    assert states(model)["azure"] in {"copying", "verified"}
    migration.wait(timeout=120)
    assert states(model) == {"aws": "verified", "azure": "verified"}
    assert hashes(model.download(tmp_path / "there", near="azure")) == hashes(
        model.download(tmp_path / "here", near="aws")
    )
    ended = "SELECT target FROM events WHERE target IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND job_id = %s"
    assert [row.target for row in clouds.sql(ended, decode("j", migration.id))] == ["SUCCEEDED"]
    clean(clouds)


def test_what_cannot_be_is_refused_before_anything_is_stored(clouds: Clouds, tmp_path: Path) -> None:
    model = make(clouds, "homely")
    artifact = decode("a", model.view.artifact.id)
    jobs = clouds.sql("SELECT count(*) AS n FROM jobs")[0].n
    with pytest.raises(NotFound, match="Did you mean 'gcp'"):
        model.migrate("gpc")
    with pytest.raises(Conflict, match="already, verified"):
        model.migrate("aws")
    with pytest.raises(NotFound, match="no good copy of homely@1 in gs://"):
        model.migrate("azure", source="gcp")
    with pytest.raises(NotFound, match="no version 7"):
        clouds.client.models.get("homely@7")
    origin = clouds.stores["gcp"].partition("endpoint=")[2]
    with faulty(origin) as (proxy, faults):
        clouds.client.pools.create(
            CreatePool(name="shut", cloud=Cloud.GCP, region="", store=servers.make_bucket("gcp", proxy, "shut"))
        )
        missing = f"gs://missing?endpoint={proxy}"
        clouds.client.pools.create(CreatePool(name="gone", cloud=Cloud.GCP, region="", store=missing))
        with pytest.raises(NotFound, match="missing"):
            model.migrate("gone")
        with pytest.raises(NotFound, match="Did you mean 'gone'"):
            model.migrate("gon")
        clouds.sql("UPDATE pools SET name = 'gcp-1' WHERE name = 'gcp'")
        with pytest.raises(Conflict, match=r"gcp has \d stores") as ambiguous:
            model.plan("gcp")
        assert all(name in str(ambiguous.value) for name in ("gcp-1", "gone", "shut"))
        clouds.sql("UPDATE pools SET name = 'gcp' WHERE name = 'gcp-1'")
        for status, error in ((403, PermissionDenied), (507, Conflict)):
            faults.before = refusing(status)
            with pytest.raises(error):
                model.migrate("shut")
    clouds.sql("DELETE FROM pools WHERE name IN ('shut', 'gone')")
    assert clouds.sql("SELECT count(*) AS n FROM jobs")[0].n == jobs
    assert states(model) == {"aws": "verified"}
    first = model.migrate("gcp", limit=SLOW // 10)
    with pytest.raises(Conflict, match=first.id):
        model.migrate("gcp")
    first.cancel()
    until_states(model, {"aws": "verified"})
    clouds.sql("UPDATE replicas SET state = 'lost' WHERE artifact_id = %s", artifact)
    with pytest.raises(Conflict, match="no good copy"):
        model.migrate("gcp")
    with pytest.raises(NotFound, match="no copy that can be read"):
        model.download(tmp_path / "nothing")
    clouds.sql("UPDATE replicas SET state = 'verified' WHERE artifact_id = %s", artifact)


def test_aliases_name_versions_and_protect_them(clouds: Clouds) -> None:
    first, second = make(clouds, "named"), make(clouds, "named", seed=1, changed=4)
    first.alias("prod")
    models = clouds.client.models
    assert models.get("named@prod").ref == "named@1"
    assert models.get("named@latest").ref == models.get("named").ref == "named@2"
    with pytest.raises(Conflict, match="named@prod"):
        first.delete()
    second.alias("prod")
    assert [(one.alias, one.version) for one in models.aliases("named")] == [("prod", 2)]
    for taken in ("latest", "3"):
        with pytest.raises(Conflict, match="names a version"):
            second.alias(taken)
    with pytest.raises(NotFound, match="Did you mean named@prod"):
        models.get("named@prd")
    migration = first.migrate("gcp", limit=SLOW // 10)
    with pytest.raises(Conflict, match=migration.id):
        first.delete()
    migration.cancel()
    until_states(first, {"aws": "verified"})
    until(lambda: migration.refresh().state.terminal)
    (row,) = clouds.sql("SELECT prefix FROM replicas WHERE artifact_id = %s", decode("a", first.view.artifact.id))
    first.delete()
    until(lambda: not any(key.startswith(row.prefix) for key in keys(clouds, "aws")))
    with pytest.raises(NotFound):
        models.get("named@1")
    models.remove_alias("named", "prod")
    second.delete()
    with pytest.raises(NotFound):
        models.get("named")
    assert make(clouds, "named").ref == "named@3", "a number is never given again"


def test_where_a_model_came_from(clouds: Clouds) -> None:
    model = make(clouds, "descended")
    lineage = model.lineage
    assert lineage["job"] == model.view.artifact.job
    assert lineage["attempt"] == f"{model.view.artifact.job}.1"
    assert (
        lineage["spec"]
        == clouds.sql("SELECT encode(spec_hash, 'hex') AS hash FROM jobs WHERE name = 'descended'")[0].hash
    )
    assert len(str(lineage["code"])) == 64
    assert make(clouds, "descended").lineage["code"] == lineage["code"]
    assert make(clouds, "descended", files=3).lineage["code"] != lineage["code"]
    json.dumps(lineage)
    assert copy_in(model, "aws").checked_at is not None

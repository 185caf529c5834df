"""What jobs read: models and artifacts, from the nearest verified copy, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloud_adapters.base import join_key
from cloud_adapters.registry import open_store
from orchestrator import Command, Outputs, Placement
from orchestrator.domain.errors import Conflict, InvalidSpec
from orchestrator.domain.ids import decode
from orchestrator.domain.spec import Cloud
from orchestrator.domain.state import JobState
from orchestrator.sdk import jobs
from tests.integration.moves.clouds import Clouds, Job, until
from tests.integration.registry.models import hashes, make, states

_READ = """
import hashlib, json, os
import orchestrator as nu
run = nu.run()
found = {name: {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
         for name, folder in run.inputs.items()}
assert set(os.listdir(os.environ["NEUTRINO_INPUTS_DIR"])) == set(found)
(run.output_dir / "found.json").write_text(json.dumps(found))
"""


def reader(clouds: Clouds, name: str, on: str | None = None, model: str | None = None, **inputs: str) -> Job:
    """A job that writes down the hashes of all that it reads."""
    placement = Placement(clouds=(Cloud(on),)) if on else Placement()
    return clouds.client.jobs.submit(
        Command(
            name=name, command=("python", "-c", _READ), inputs=inputs, placement=placement, outputs=Outputs(model=model)
        )
    )


def test_a_job_reads_the_nearest_verified_copy_and_its_model_says_so(clouds: Clouds, tmp_path: Path) -> None:
    base = make(clouds, "base", files=2, size=10_000_000)
    home = hashes(base.download(tmp_path / "home"))
    far = reader(clouds, "far", "azure", base="model://base@1").wait(timeout=120)
    assert clouds.view(far).inputs[0].store == clouds.stores["aws"]
    base.migrate("azure").wait(timeout=120)
    base.alias("prod")
    near = reader(
        clouds, "near", "azure", "tuned", base="model://base@prod", raw=f"artifact://{base.view.artifact.id}"
    ).wait(timeout=120)
    assert [(one.name, one.ref, one.store) for one in clouds.view(near).inputs] == [
        ("base", "base@1", clouds.stores["azure"]),
        ("raw", base.view.artifact.id, clouds.stores["azure"]),
    ]
    lineage = near.model.lineage
    assert lineage["parent"] == "base@1"
    inputs: Any = lineage["inputs"]
    assert inputs["base"] == {"ref": "base@1", "digest": base.view.artifact.digest}
    assert json.loads((near.model.download(tmp_path / "near") / "found.json").read_text()) == {
        "base": home,
        "raw": home,
    }
    assert any("Input base: base@1, 19.1 MiB from az://" in line.text for line in near.logs())


def test_a_damaged_copy_is_passed_over_and_looked_into(clouds: Clouds, tmp_path: Path) -> None:
    model = make(clouds, "brittle")
    home = hashes(model.download(tmp_path / "home"))
    model.migrate("gcp").wait(timeout=120)
    (row,) = clouds.sql(
        "SELECT prefix FROM replicas WHERE store = %s AND artifact_id = %s",
        clouds.stores["gcp"],
        decode("a", model.view.artifact.id),
    )
    store, key = open_store(clouds.stores["gcp"]), join_key(row.prefix, "part-02.bin")
    store.put(key, bytes(store.head(key).size))
    job = reader(clouds, "careful", "gcp", data="model://brittle").wait(timeout=120)
    assert clouds.view(job).inputs[0].store == clouds.stores["aws"]
    # Checked, found to be lost, and mended, with nobody asking for it.
    mended = "SELECT FROM jobs WHERE name = 'migrate-brittle' AND user_name = 'neutrino' AND state = 'SUCCEEDED'"
    until(lambda: clouds.sql(mended))
    assert states(model) == {"aws": "verified", "gcp": "verified"}
    assert hashes(model.download(tmp_path / "mended", near="gcp")) == home


def test_where_a_job_goes_and_what_that_costs_follows_from_what_it_reads(clouds: Clouds) -> None:
    model = make(clouds, "heavy", files=2, size=3_000_000)
    spec = Command(name="weigh", command=("true",), inputs={"base": "model://heavy"})
    plan = clouds.client.jobs.plan(spec)
    weighed = {one.pool: (one.bytes_to_move, one.egress_usd > 0) for one in plan.considered}
    assert weighed["aws"] == (0, False)
    assert weighed["gcp"] == weighed["azure"] == (6_000_000, True)
    assert "5.7 MiB to move for $0.00" in next(one.verdict for one in plan.considered if one.pool == "gcp")
    for number in range(2):
        there = reader(clouds, f"goes-{number}", base=f"model://{model.ref}").wait(timeout=120)
        assert clouds.view(there).pool == "aws"


@pytest.mark.parametrize("batch", [1, 2])
def test_the_fault_of_one_of_many_is_told_with_its_number(
    clouds: Clouds, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_BATCH", batch)
    fine = Command(name="fine", command=("true",))
    with pytest.raises(InvalidSpec) as refused:
        clouds.client.jobs.submit_many([fine, fine.model_copy(update={"inputs": {"base": "model://wantde"}})])
    assert [fault.path for fault in refused.value.errors] == ["jobs[1].spec.inputs.base"]


def test_what_cannot_be_read_is_refused_and_what_is_read_stays(clouds: Clouds) -> None:
    model = make(clouds, "wanted")
    artifact = decode("a", model.view.artifact.id)
    before = clouds.sql("SELECT count(*) AS n FROM jobs")[0].n
    for address, said in {
        "model://wantde": "There is no model 'wantde'",
        "model://wanted@7": "has no version 7",
        "model://wanted@prod": "has no version 'prod'",
        "artifact://a-zzzzz": "There is no artifact a-zzzzz",
        "s3://bucket/data": "names neither a model nor an artifact",
    }.items():
        with pytest.raises(InvalidSpec, match=said) as refused:
            reader(clouds, "refused", base=address)
        assert [fault.path for fault in refused.value.errors] == ["spec.inputs.base"]
    clouds.sql("UPDATE replicas SET state = 'lost' WHERE artifact_id = %s", artifact)
    with pytest.raises(InvalidSpec, match="wanted@1 has no verified copy"):
        reader(clouds, "refused", base="model://wanted")
    clouds.sql("UPDATE replicas SET state = 'verified' WHERE artifact_id = %s", artifact)
    clouds.sql("INSERT INTO workspaces (name) VALUES ('others')")
    clouds.sql(
        "UPDATE models SET workspace_id = (SELECT id FROM workspaces WHERE name = 'others') WHERE name = 'wanted'"
    )
    with pytest.raises(InvalidSpec, match="There is no model 'wanted'"):
        reader(clouds, "refused", base="model://wanted")
    clouds.sql(
        "UPDATE models SET workspace_id = (SELECT workspace_id FROM artifacts WHERE id = %s) WHERE name = 'wanted'",
        artifact,
    )
    assert clouds.sql("SELECT count(*) AS n FROM jobs")[0].n == before
    waits = clouds.client.jobs.submit(
        Command(
            name="waits",
            command=("true",),
            inputs={"base": "model://wanted"},
            placement=Placement(clouds=(Cloud.LOCAL,)),
        )
    )
    with pytest.raises(Conflict, match=f"wanted@1 is used by {waits.id}"):
        model.delete()
    waits.cancel()
    model.delete()
    assert clouds.view(waits).inputs[0].artifact is None
    with pytest.raises(Conflict, match="its input wanted@1 has been deleted"):
        waits.retry()
    assert clouds.view(waits).state is JobState.CANCELLED

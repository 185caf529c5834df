"""Jobs as pods, from the submission to the report, through the real API, launcher, and program in the pod."""

from __future__ import annotations

import pytest

from orchestrator.domain.state import JobState
from tests.acceptance.site import until
from tests.kube.conftest import Field

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def pool(whole_field: Field) -> str:
    whole_field.launcher(name := whole_field.pool("pods", secrets=["hub"]))
    return name


def test_a_job_runs_in_a_pod_and_leaves_nothing(field: Field, pool: str) -> None:
    job = field.run("sh", "-c", "echo from the pod; echo result > $NEUTRINO_RUN_DIR/output/file", runtime="pod")
    (view,) = field.ended(job)
    assert view.state is JobState.SUCCEEDED, view.message
    assert "from the pod" in [line.text for line in job.logs()]
    until(lambda: not field.cluster.objects.all("secrets"))
    (kube_job,) = [one for one in field.cluster.objects.all("jobs") if one["metadata"]["name"] == f"{job.id}-1"]
    assert not kube_job["metadata"]["finalizers"]

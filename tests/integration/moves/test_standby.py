"""A cloud is lost. The last of these files, because that cloud does not come back."""

from __future__ import annotations

import pytest

from orchestrator.domain.ids import decode
from tests.integration.moves.clouds import Clouds, until
from tests.integration.moves.test_faults import is_right

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


def test_a_cloud_that_is_lost_costs_at_most_what_its_standby_lacks(clouds: Clouds) -> None:
    job = clouds.grow("standby", ["aws", "gcp"], standby="gcp", steps=600)
    clouds.running_on(job, "aws")
    copied = """
        SELECT FROM artifacts c JOIN replicas r ON r.artifact_id = c.id
        WHERE c.job_id = %s AND c.kind = 'checkpoint' AND r.store = %s AND r.state = 'verified'
    """
    until(lambda: clouds.sql(copied, decode("j", job.id), clouds.stores["gcp"]))
    standby = clouds.view(job).standby
    assert standby is not None
    assert standby.cloud == "gcp"
    assert standby.step is not None
    clouds.kill_worker("aws")
    clouds.lose_store("aws")
    is_right(clouds, job, 600)
    view = clouds.view(job)
    assert view.attempts[-1].pool == "gcp"
    assert (view.attempts[-1].resumed_from_step or 0) >= standby.step
    assert view.interruption_seconds is not None
    assert [(one.pool, one.reason) for one in job.why().tried] == [("aws", "lease_lost")]
    noted = [event for event in job.events() if event.reason == "resumed_elsewhere"]
    assert all("could not be had from s3://" in event.message for event in noted)

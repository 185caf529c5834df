"""What another cloud has of a job, should its own be lost."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain.model import Model


class StandbyView(Model):
    """The copies that a job's standby has of its checkpoints.

    `step` is the newest one there, `behind` how many newer ones are not there yet. The work since `recovery_point`,
    when the job committed that checkpoint, `age_seconds` ago, would be done again.
    """

    cloud: str
    store: str | None
    step: int | None
    behind: int
    recovery_point: datetime | None
    age_seconds: float | None
    message: str

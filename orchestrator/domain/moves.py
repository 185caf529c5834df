"""Jobs that go to another cloud."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from orchestrator.domain.model import Line, Model
from orchestrator.domain.state import JobState
from orchestrator.domain.views import Considered


class MoveJob(Model):
    """Let a job go on in another cloud: `to` names it. With `dry_run` nothing is done but to say what would be."""

    to: Annotated[Line, StringConstraints(min_length=1, max_length=64)]
    dry_run: bool = False


class MoveView(Model):
    """A job on its way to another cloud, or what that would take.

    `step` is the newest checkpoint, and `bytes_to_move` what is not near `pool` yet; a running job takes a fresh one
    before it stops. `bytes_ahead` of them move while it still runs, because most of it is expected to be the same then;
    what is not is moved again. `downtime_seconds` is the estimate from its last step here to its first
    step there, `egress_usd` the list price.
    """

    job: str
    source: str | None
    target: str
    pool: str
    state: JobState
    step: int | None
    bytes_to_move: int
    bytes_ahead: int = 0
    egress_usd: float
    downtime_seconds: float
    considered: tuple[Considered, ...]
    message: str

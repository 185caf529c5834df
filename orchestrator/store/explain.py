"""Why a job is where it is. CLI, API and dashboard all show this sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, text

from orchestrator.domain.errors import nearest
from orchestrator.domain.freight import Prices, free
from orchestrator.domain.ids import encode
from orchestrator.domain.placement import Decision, Shape, place
from orchestrator.domain.state import JobState, Reason
from orchestrator.domain.views import Misfit, Why
from orchestrator.store import freight, pools, recovery, shaping

_JOB = """
    SELECT id, state, reason, message, shape, not_before, not_before > clock_timestamp() AS held_back
    FROM jobs WHERE id = :id
"""
_AHEAD = """
    SELECT count(*) FROM (SELECT FROM jobs WHERE state = 'QUEUED' AND shape = :shape AND id < :id LIMIT 100000) AS ahead
"""

_NEXT_STEP = {
    JobState.FAILED: "neutrino logs {id}    then    neutrino retry {id}",
    JobState.CANCELLED: "neutrino retry {id}",
    JobState.SUCCEEDED: "neutrino metrics {id}",
    JobState.RUNNING: "neutrino logs -f {id}",
}
_NEXT_STEP_AFTER = {Reason.COST_EXCEEDED: "Submit it again with more, in spec.placement.maxCostUsd."}
_MISFIT_HINTS = {
    Misfit.PRICE: "Raise spec.placement.maxCostUsd; for less than an hour of work, shorten spec.timeout.",
    Misfit.SPOT: "Change spec.placement.spot: `prefer` accepts both kinds of capacity.",
}


def _queued_hint(shape: Shape, decision: Decision) -> str | None:
    if not decision.considered:
        return "neutrino up    starts a local pool"
    if not decision.pools:
        known = [one.pool for one in decision.considered]
        if shape.pool is not None and shape.pool not in known:
            guess = nearest(shape.pool, known)
            return f"There is no pool {shape.pool}. Did you mean {guess or ' or '.join(known[:5])}?"
        for misfit, hint in _MISFIT_HINTS.items():
            if any(one.misfit is misfit for one in decision.considered):
                return hint
        wanted = f" with GPU {shape.gpu}" if shape.gpu else ""
        return f"Start a pool{wanted}, or change spec.resources or spec.placement."
    if not any(pool.slots for pool in decision.pools):
        return "neutrino worker list    shows what is offline or draining"
    return None


def _sentence(job: Row[Any], decision: Decision) -> str:
    """Why a queued job waits."""
    if job.held_back:
        return f"{job.message} Held back until {job.not_before:%H:%M:%S} UTC."
    return decision.message


def waiting(connection: Connection, jobs: Iterable[Row[Any]]) -> dict[int, str]:
    """Why each of these jobs waits, by row id, for those that are queued."""
    queued = [job for job in jobs if job.state == JobState.QUEUED]
    if not queued:
        return {}
    states = pools.states(connection)
    decisions = {key: place(Shape.model_validate_json(key), states) for key in {job.shape for job in queued}}
    return {job.id: _sentence(job, decisions[job.shape]) for job in queued}


def why(connection: Connection, job_id: int, prices: Prices = free) -> Why:
    """The reason and the next step of a job, where it could be and what it would have to carry there, and where it was
    tried before; the caller has made sure of the workspace."""
    job = connection.execute(text(_JOB), {"id": job_id}).one()
    state, public_id = JobState(job.state), encode("j", job.id)
    hint = _NEXT_STEP_AFTER.get(job.reason) or _NEXT_STEP.get(state)
    common: dict[str, Any] = {
        "job": public_id,
        "state": state,
        "reason": job.reason,
        "message": job.message,
        "hint": hint and hint.format(id=public_id),
        "tried": shaping.tried(connection, job_id),
    }
    if state.terminal:
        return Why(**common)
    carried = freight.carried(connection, [job_id]).get(job_id, ())
    shape = Shape.model_validate_json(job.shape).model_copy(update={"freight": carried})
    if state is not JobState.QUEUED:
        considered = place(shape, pools.states(connection), prices).considered if carried else ()
        return Why(**common, considered=considered, standby=recovery.view(connection, job_id))
    decision = place(shape, pools.states(connection), prices)
    waits = {
        "message": _sentence(job, decision),
        "position": connection.execute(text(_AHEAD), {"shape": job.shape, "id": job.id}).scalar_one() + 1,
        "considered": decision.considered,
        "hint": _queued_hint(shape, decision),
        "standby": recovery.view(connection, job_id),
    }
    return Why(**common | waits)


def plan(connection: Connection, shape: Shape, prices: Prices = free) -> Why:
    """What would become of a job of this shape if it were submitted now."""
    decision = place(shape, pools.states(connection), prices)
    at_once = any(pool.free for pool in decision.pools)
    return Why(
        job="",
        state=JobState.QUEUED,
        reason="planned",
        message=f"Would start at once in pool {decision.pools[0].name}." if at_once else decision.message,
        considered=decision.considered,
        hint=_queued_hint(shape, decision),
    )

"""What happens after an attempt has ended without success: a pure function of the reason and the budgets.

Three budgets are kept apart. The user's (`retry.max`) pays for the user's own errors and timeouts. Infrastructure has
its own, so that a bad node does not spend the user's. The deaths of workers are counted besides: a job that takes its
worker down three times is quarantined before it takes down more.

What infrastructure has cost is forgiven when a job gets on: a training of weeks meets more bad nodes than ten, and each
of its checkpoints proves that it is not what takes them down. Copies and checks are Neutrino's own work, and have no
checkpoints: they outlast a store that cannot be reached for a weekend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.spec import Retry, RetryOn
from orchestrator.domain.state import AttemptState, JobState, Reason


@dataclass(frozen=True, slots=True)
class Budgets:
    """How many ends of each kind a job may cost before it fails; `pause` is the longest between two attempts that
    infrastructure has ended, in seconds."""

    infra: int
    preemptions: int
    deaths: int
    pause: float


PEOPLES = Budgets(infra=10, preemptions=100, deaths=3, pause=60.0)
OWN = Budgets(infra=500, preemptions=1000, deaths=20, pause=600.0)
KILLS_BELIEVED = 2
"""So often a signal from nowhere is taken for the machine's doing; a job that goes on to end so does it to itself."""
_USER_BACKOFF_S = (1.0, 300.0)  # first delay and ceiling; doubled each time
_FIRST_INFRA_PAUSE_S = 0.5


class Failure(StrEnum):
    """Whose fault an end was, and so which budget pays."""

    USER = "user"
    UNCHANGED_IS_POINTLESS = "pointless"  # trying the same again would end the same
    INFRA = "infra"
    PREEMPTION = "preemption"
    FREE = "free"  # nothing was executed, or a person moved it: nobody pays


FAILURE_OF: Mapping[Reason, Failure] = {
    Reason.USER_ERROR: Failure.USER,
    Reason.TIMEOUT: Failure.USER,
    Reason.COST_EXCEEDED: Failure.UNCHANGED_IS_POINTLESS,
    Reason.OOM: Failure.UNCHANGED_IS_POINTLESS,
    Reason.INVALID_OUTPUT: Failure.UNCHANGED_IS_POINTLESS,
    Reason.DAMAGED: Failure.UNCHANGED_IS_POINTLESS,
    Reason.STORE_REFUSED: Failure.UNCHANGED_IS_POINTLESS,
    Reason.IMAGE_UNAVAILABLE: Failure.UNCHANGED_IS_POINTLESS,
    Reason.POD_REFUSED: Failure.UNCHANGED_IS_POINTLESS,
    Reason.KILLED: Failure.INFRA,
    Reason.PREEMPTED: Failure.PREEMPTION,
    Reason.LEASE_LOST: Failure.INFRA,
    Reason.WORKER_LOST: Failure.INFRA,
    Reason.CLAIM_LOST: Failure.FREE,
    Reason.MIGRATING: Failure.FREE,
    Reason.NO_CAPACITY: Failure.FREE,
    Reason.QUOTA_EXCEEDED: Failure.FREE,
    Reason.INFRA_ERROR: Failure.INFRA,
    Reason.STAGING_FAILED: Failure.INFRA,
    Reason.UPLOAD_FAILED: Failure.INFRA,
    Reason.CANCELLED_BY_USER: Failure.INFRA,  # stopped although nobody cancelled: the fault is the worker's
}

ATTEMPT_STATE_OF: Mapping[Reason, AttemptState] = {
    Reason.SUCCEEDED: AttemptState.SUCCEEDED,
    Reason.PREEMPTED: AttemptState.PREEMPTED,
    Reason.MIGRATING: AttemptState.PREEMPTED,
    Reason.LEASE_LOST: AttemptState.LOST,
    Reason.WORKER_LOST: AttemptState.LOST,
    Reason.CLAIM_LOST: AttemptState.LOST,
    Reason.CANCELLED_BY_USER: AttemptState.CANCELLED,
}

# A lease that ran out may be a worker that died; only its return within the lease would prove otherwise.
_DEATHS = frozenset({Reason.LEASE_LOST, Reason.WORKER_LOST})


@dataclass(frozen=True, slots=True)
class Counters:
    """What a job's attempts have cost so far, per budget."""

    user_failures: int = 0
    infra_failures: int = 0
    preemptions: int = 0
    worker_deaths: int = 0
    kills: int = 0  # of the failures of infrastructure, those that were signals from nowhere

    def forgiven(self) -> Counters:
        """What is left of it for a job that gets on: its own errors."""
        return Counters(user_failures=self.user_failures)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The job's next state; `delay` in seconds holds a queued job back, before jitter."""

    state: JobState
    reason: Reason
    message: str
    counters: Counters
    delay: float = 0.0


def _backoff(bounds: tuple[float, float], failures: int) -> float:
    first, ceiling = bounds
    return min(first * 2.0 ** min(failures - 1, 30), ceiling)


def _spent(before: Counters, reason: Reason, failure: Failure) -> Counters:
    return Counters(
        user_failures=before.user_failures + (failure in {Failure.USER, Failure.UNCHANGED_IS_POINTLESS}),
        infra_failures=before.infra_failures + (failure is Failure.INFRA),
        preemptions=before.preemptions + (failure is Failure.PREEMPTION),
        worker_deaths=before.worker_deaths + (reason in _DEATHS),
        kills=before.kills + (reason is Reason.KILLED),
    )


def after_attempt(
    reason: Reason,
    message: str,
    counters: Counters,
    retry: Retry,
    *,
    budgets: Budgets = PEOPLES,
) -> Verdict:
    """Decide where the job goes after an attempt ended with `reason`; `counters` are those before it."""
    failure = FAILURE_OF[reason]
    if reason is Reason.KILLED and counters.kills >= KILLS_BELIEVED:
        failure, message = Failure.USER, f"{message} It goes on to end so: the job seems to do it to itself."
    spent = _spent(counters, reason, failure)

    def fail(why: Reason, text: str) -> Verdict:
        return Verdict(JobState.FAILED, why, text, spent)

    def again(delay: float, budget: str) -> Verdict:
        return Verdict(JobState.QUEUED, reason, f"{message} Trying again ({budget}).", spent, delay)

    if spent.worker_deaths >= budgets.deaths:
        deaths = spent.worker_deaths
        text = f"Quarantined: {deaths} workers died while running this job. {message} Read its log, then retry it."
        return fail(Reason.QUARANTINED, text)
    match failure:
        case Failure.FREE:
            return Verdict(JobState.QUEUED, reason, message, spent)
        case Failure.UNCHANGED_IS_POINTLESS:
            return fail(reason, message)
        case Failure.USER if RetryOn.ERROR in retry.on and spent.user_failures <= retry.max:
            return again(_backoff(_USER_BACKOFF_S, spent.user_failures), f"retry {spent.user_failures} of {retry.max}")
        case Failure.PREEMPTION if RetryOn.PREEMPTED in retry.on and spent.preemptions <= budgets.preemptions:
            return again(0.0, f"preemption {spent.preemptions} of {budgets.preemptions}")
        case Failure.INFRA if RetryOn.INFRA in retry.on and spent.infra_failures <= budgets.infra:
            delay = _backoff((_FIRST_INFRA_PAUSE_S, budgets.pause), spent.infra_failures)
            return again(delay, f"infrastructure retry {spent.infra_failures} of {budgets.infra}")
        case _:
            return fail(reason, message)

"""What a job may cost: `placement.maxCostUsd`.

All attempts of a job together may cost so much: their time on slots, times what a slot costs for an hour. A job that
has reached it is stopped. Pools are left out beforehand when an hour there, or the job's timeout if that is shorter,
would cost more: a job of which nothing could come is better not begun.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Context
from typing import NamedTuple

from orchestrator.domain.spec import JobSpec

_HOUR = 3600.0
_DIGITS = Context(prec=3, rounding=ROUND_DOWN)


def coarse(rate: float) -> float:
    """The first three digits of a rate. Placement compares such ones, so that many jobs whose limits hardly differ have
    few shapes and the dispatcher stays quick; what a job costs is counted exactly."""
    return float(_DIGITS.create_decimal(f"{rate:.6f}"))


def max_rate(spec: JobSpec) -> float | None:
    """What one slot may cost for an hour, in USD and `coarse`, so that a job may run there; None when its cost is not
    limited."""
    most = spec.placement.max_cost_usd
    if most is None:
        return None
    return coarse(most / spec.resources.nodes / (min(spec.timeout, _HOUR) / _HOUR))


class Bill(NamedTuple):
    """What the attempts of a job have cost so far, and what they may, in USD."""

    spent: float
    most: float

    @property
    def reached(self) -> bool:
        """Whether there is nothing left."""
        return self.spent >= self.most

    def __str__(self) -> str:
        return f"Its attempts have cost {_usd(self.spent)}, and it may cost {_usd(self.most)} (placement.maxCostUsd)."


def _usd(amount: float) -> str:
    return f"${amount:.2f}" if amount >= 0.01 else f"${amount:.2g}"

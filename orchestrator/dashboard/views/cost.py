"""What jobs have cost: over time, by cloud, pool, user, kind, name, label or workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import Response

from orchestrator.dashboard.access import Db, Viewer
from orchestrator.dashboard.recent import Recent
from orchestrator.dashboard.render import render
from orchestrator.domain import roles
from orchestrator.store import cost, tokens
from orchestrator.store.cost import Spent

router = APIRouter()

_SHOWN = 7
_OTHER = "(others)"
_KEEP_SECONDS = 15.0  # a quarter of a year by names of jobs can be hundreds of thousands of rows
_WIDTH, _HEIGHT = 1000.0, 180.0


class Span(NamedTuple):
    """How far back, in which steps."""

    words: str
    unit: str
    steps: int


SPANS = {
    "24h": Span("24 hours", "hour", 24),
    "7d": Span("7 days", "day", 7),
    "30d": Span("30 days", "day", 30),
    "90d": Span("90 days", "day", 90),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a column of the chart: where it is drawn, and what it says."""

    series: int
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table, and a colour of the chart; a key of None stands for all others."""

    key: str | None
    usd: float
    hours: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Account:
    """Everything on the page. `measure` is hours while no pool has a price."""

    lines: Sequence[Line]
    bars: Sequence[Bar]
    first: datetime
    last: datetime
    top: float
    measure: Literal["usd", "hours"]
    usd: float
    hours: float


def account(rows: Sequence[Spent], since: datetime, span: Span) -> Account:
    """Sum up and draw: the largest keys have a colour each, the rest share one."""
    measure: Literal["usd", "hours"] = "usd" if any(row.usd for row in rows) else "hours"
    sums: dict[str | None, list[float]] = {}
    for row in rows:
        line = sums.setdefault(row.key, [0.0, 0.0, 0])
        line[0], line[1], line[2] = line[0] + row.usd, line[1] + row.hours, line[2] + row.attempts
    lines = [Line(key, usd, hours, int(attempts)) for key, (usd, hours, attempts) in sums.items()]
    lines.sort(key=lambda line: (line.key is None, -getattr(line, measure), line.key))
    rank: dict[str | None, int] = {line.key: index for index, line in enumerate(lines[:_SHOWN]) if line.key is not None}
    step = timedelta(hours=1) if span.unit == "hour" else timedelta(days=1)
    columns: list[Counter[int]] = [Counter() for _ in range(span.steps + 1)]
    for row in rows:
        columns[min(span.steps, int((row.at - since) / step))][rank.get(row.key, _SHOWN)] += getattr(row, measure)
    top = max((sum(column.values()) for column in columns), default=0.0)
    names = [*(key or "(none)" for key in rank), *[_OTHER] * (_SHOWN + 1 - len(rank))]
    bars = []
    width = _WIDTH / len(columns)
    for index, column in enumerate(columns):
        y = _HEIGHT
        for series in sorted(column):
            height = column[series] / top * _HEIGHT if top else 0.0
            y -= height
            amount = f"${column[series]:,.2f}" if measure == "usd" else f"{column[series]:,.2f} h"
            title = f"{since + index * step:%Y-%m-%d %H:%M} UTC · {names[series]}: {amount}"
            bars.append(Bar(series, index * width + width * 0.1, y, width * 0.8, height, title))
    return Account(
        lines=lines,
        bars=bars,
        first=since,
        last=since + span.steps * step,
        top=top,
        measure=measure,
        usd=sum(line.usd for line in lines),
        hours=sum(line.hours for line in lines),
    )


@router.get("/cost")
def costs(
    request: Request, db: Db, viewer: Viewer, span: str = "7d", by: str = "pool", label: str | None = None
) -> Response:
    """The cost of the workspace; for admins of the one that came with the installation, also that of all of them."""
    kinds = [each for each in cost.BY if each != "workspace" or roles.allows(viewer.role, "admin")]
    span, by = span if span in SPANS else "7d", by if by in kinds else "pool"
    chosen = SPANS[span]
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start = now if chosen.unit == "hour" else now.replace(hour=0)
    since = start - chosen.steps * (timedelta(hours=1) if chosen.unit == "hour" else timedelta(days=1))
    recent: Recent = request.app.state.recent

    def look() -> tuple[Account, cost.Total, Sequence[str]]:
        with db.transaction() as connection:
            if by == "workspace":
                tokens.require_installation(connection, viewer.workspace_id)
            known = cost.label_keys(connection, viewer.workspace_id)
            key = label if label is not None else (known[0] if known else "")
            rows = cost.spent(
                connection,
                None if by == "workspace" else viewer.workspace_id,
                since=since,
                unit=chosen.unit,
                by=by,
                label=key if by == "label" else "",
            )
            return account(rows, since, chosen), cost.today(connection, viewer.workspace_id), known

    key = ("cost", viewer.workspace_id, span, by, label)
    found, today, labels = recent.get(key, look, _KEEP_SECONDS)
    return render(
        request,
        "cost.html",
        account=found,
        today=today,
        labels=labels,
        label=label if label is not None else (labels[0] if labels else ""),
        span=span,
        spans=SPANS,
        by=by,
        kinds=kinds,
        width=_WIDTH,
        height=_HEIGHT,
        shown=_SHOWN,
    )

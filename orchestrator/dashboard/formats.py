"""How things are written on a page. Templates use these as filters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from orchestrator.dashboard import ansi
from orchestrator.domain.quantities import format_bytes

_FAR = 253402300800  # the year 10000
_SPANS = ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))


def size(count: float | None) -> str:
    """Bytes: `1.5 GiB`."""
    return "—" if count is None else format_bytes(count)


def duration(seconds: float | None) -> str:
    """A span of time: `3.2s`, `4m 10s`, `2h 5m`, `3d 4h`."""
    if seconds is None:
        return "—"
    seconds = max(0.0, float(seconds))
    for whole, name, part, part_name in _SPANS:
        if seconds >= whole:
            rest = int(seconds % whole // part)
            return f"{int(seconds // whole)}{name} {rest}{part_name}" if rest else f"{int(seconds // whole)}{name}"
    return f"{seconds:.1f}s" if 0 < seconds < 10 else f"{seconds:.0f}s"


def ago(at: datetime, now: datetime | None = None) -> str:
    """A moment as seen from now: `3s ago`, `in 5m`."""
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    if seconds < 0:
        return f"in {duration(-seconds).split(' ')[0]}"
    return f"{duration(int(seconds)).split(' ')[0]} ago"


def utc(at: datetime) -> str:
    """A moment in full: `2026-11-21 13:05:09 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def age(since: datetime) -> str:
    """How long something has lasted by now: `4m 10s`."""
    return duration((datetime.now(UTC) - since).total_seconds())


def instant(seconds: float) -> str:
    """A moment in seconds since the epoch, as a worker's clock had it: `2026-11-21 13:05:09.250 UTC`."""
    if not 0 <= seconds < _FAR:
        return "no time"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def number(value: float | None) -> str:
    """A count or a measure: `12,345`, `0.9944`."""
    if value is None:
        return "—"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def money(usd: float | None) -> str:
    """US dollars: `$12.34`; cents and less are not rounded away."""
    if usd is None:
        return "—"
    return f"${usd:,.2f}" if usd >= 0.01 or usd == 0 else f"${usd:.4f}"


def percent(share: float | None) -> str:
    """A share of one: `45 %`."""
    return "—" if share is None else f"{share * 100:.0f} %"


def host(url: str) -> str:
    """The host of an address, for people."""
    return urlsplit(url).netloc or url


def marked(sentence: str) -> Markup:
    """A sentence of ours in which `commands` stand in backticks."""
    parts = [escape(ansi.shown(part)) for part in sentence.split("`")]
    if len(parts) % 2 == 0:
        return Markup("`").join(parts)
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


FILTERS: dict[str, Callable[..., Any]] = {
    "size": size,
    "duration": duration,
    "ago": ago,
    "age": age,
    "instant": instant,
    "log": ansi.html,
    "utc": utc,
    "number": number,
    "money": money,
    "percent": percent,
    "host": host,
    "marked": marked,
}

"""A bar for bytes on the move: how many of how many, MB/s, and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.cli.output import colourful, console, duration, note, size

if TYPE_CHECKING:
    from cloud_adapters.transfer import Progress

    Show = Callable[[Progress], None]

_EVERY_S = 5.0
_REDRAW_S = 0.1


@contextmanager
def transfer_bar(what: str) -> Iterator[Show]:
    """A function that shows a transfer's progress on standard error: a bar on a terminal, else a line now and then."""
    if not colourful(sys.stderr):
        yield _throttled(_EVERY_S, lambda now: note(f"{what}  {words(now)}"))
        return
    from rich import progress as rp

    columns = (
        rp.TextColumn("{task.description}", markup=False),
        rp.BarColumn(bar_width=28),
        rp.TaskProgressColumn(),
        rp.TextColumn("{task.fields[words]}", markup=False),
    )
    with rp.Progress(*columns, console=console(sys.stderr), transient=True) as bars:
        task = bars.add_task(what, total=None, words="")

        def show(now: Progress) -> None:
            bars.update(task, total=1.0, completed=now.fraction, words=words(now))

        yield _throttled(_REDRAW_S, show)


def words(now: Progress) -> str:
    """`1.2 GiB of 3.0 GiB  0.5 GiB read back  118 MB/s  15s left  7 of 9 files`."""
    left = now.seconds_left
    parts = [
        f"{size(now.done)} of {size(now.total)}",
        f"{size(now.proven)} read back" if now.proven else "",
        speed(now.rate),
        "" if left is None or now.fraction >= 1 else f"{duration(left)} left",
        f"{now.files_done} of {now.files} files" if now.files > 1 else "",
    ]
    return "  ".join(part for part in parts if part)


def speed(rate: float) -> str:
    """Bytes per second in the unit that networks are sold in."""
    return f"{rate / 1e6:.0f} MB/s" if rate >= 1e7 else f"{rate / 1e6:.1f} MB/s"


def _throttled(seconds: float, show: Show) -> Show:
    last = time.monotonic()

    def now_and_then(now: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds or (now.fraction >= 1 and seconds < 1):
            last = time.monotonic()
            show(now)

    return now_and_then

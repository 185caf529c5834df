"""What one attempt has produced and the API has not accepted yet: lines, metrics, progress. Bounded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from orchestrator.domain.protocol import Append, LogLine, MetricPoint

Stream = Literal["stdout", "stderr", "system"]

_ROOM = 1024 * 1024  # characters that may wait; more is left in the pipe, and the program waits
_PER_LINE, _PER_METRIC = 96, 160  # what stands around the text itself
_LARGEST_APPEND = 256 * 1024
_MOST_ITEMS = 2000


class Feed:
    """The queue between an attempt's pipes and the API.

    `take()` gives the next batch, and gives the same one again until `accepted()`: its number makes sending it twice
    harmless. `on_room` is called when there is room again after there was none.
    """

    def __init__(self, attempt: str) -> None:
        self._attempt = attempt
        self._lines: list[LogLine] = []
        self._metrics: list[MetricPoint] = []
        self._progress: tuple[float, str] | None = None
        self._waiting = 0
        self._seq = 0
        self._next_line = 1
        self._metrics_accepted = 0
        self._sent: Append | None = None
        self.last_stderr = ""
        self.on_room: Callable[[], None] | None = None

    @property
    def empty(self) -> bool:
        """True when the API has accepted everything."""
        return self._sent is None and not (self._lines or self._metrics or self._progress)

    @property
    def has_room(self) -> bool:
        """False while so much waits that no more should be read."""
        return self._waiting < _ROOM

    @property
    def mark(self) -> tuple[int, int]:
        """How far the attempt has come, for `reached`."""
        return self._next_line + len(self._lines), self._metrics_accepted + len(self._metrics)

    def reached(self, mark: tuple[int, int]) -> bool:
        """Whether the API has accepted all that was there when `mark` was taken."""
        line, metrics = mark
        return self._next_line >= line and self._metrics_accepted >= metrics

    def add_lines(self, stream: Stream, texts: list[str]) -> None:
        """Lines that have just been read."""
        at = time.time()
        self._lines += [LogLine(at=at, stream=stream, text=text) for text in texts]
        self._waiting += sum(len(text) + _PER_LINE for text in texts)
        if stream == "stderr":
            self.last_stderr = next((text for text in reversed(texts) if text.strip()), self.last_stderr)

    def add_system(self, text: str) -> None:
        """A line from the worker itself."""
        self.add_lines("system", [text])

    def add_metrics(self, points: list[MetricPoint]) -> None:
        """Numbers that the program has logged."""
        self._metrics += points
        self._waiting += len(points) * _PER_METRIC

    def set_progress(self, fraction: float, message: str) -> None:
        """The newest progress replaces one that has not been sent."""
        self._progress = (fraction, message)

    def take(self) -> Append | None:
        """The batch to send; None when there is nothing."""
        if self._sent is None and not self.empty:
            self._sent = self._next_batch()
        return self._sent

    def _next_batch(self) -> Append:
        count, size = 0, 0
        for line in self._lines[:_MOST_ITEMS]:
            size += len(line.text) + _PER_LINE
            if count and size > _LARGEST_APPEND:
                break
            count += 1
        self._seq += 1
        fraction, message = self._progress or (None, None)
        self._progress = None
        return Append(
            attempt=self._attempt,
            seq=self._seq,
            first_line=self._next_line,
            lines=tuple(self._lines[:count]),
            metrics=tuple(self._metrics[:_MOST_ITEMS]),
            progress=fraction,
            message=message or None,
        )

    def accepted(self) -> None:
        """The API has the batch."""
        sent = self._sent
        if sent is None:
            return
        was_full = not self.has_room
        self._sent = None
        self._next_line += len(sent.lines)
        self._metrics_accepted += len(sent.metrics)
        self._waiting -= sum(len(line.text) + _PER_LINE for line in sent.lines) + len(sent.metrics) * _PER_METRIC
        del self._lines[: len(sent.lines)]
        del self._metrics[: len(sent.metrics)]
        if was_full and self.has_room and self.on_room is not None:
            self.on_room()

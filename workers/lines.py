"""Bytes of a program's output cut into lines, with bounded memory."""

from __future__ import annotations

from orchestrator.domain.protocol import MAX_LINE


class LineSplitter:
    """Turns chunks of one stream into lines of text.

    A line is cut at MAX_LINE bytes, and says how many were dropped. Of a progress bar, which goes back to the start of
    its line again and again, the last picture remains. What is no UTF-8, and NUL, which the database cannot hold, is
    replaced.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self._dropped = 0
        self._returned = False  # to the start of the line: what comes next replaces it

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this chunk completes."""
        *ended, rest = chunk.split(b"\n")
        lines = []
        for part in ended:
            self._keep(part)
            lines.append(self._take())
        self._keep(rest)
        return lines

    def finish(self) -> list[str]:
        """What is left when the stream ends without a line's end."""
        return [self._take()] if self._kept or self._dropped else []

    def _keep(self, part: bytes) -> None:
        first, *after_returns = part.split(b"\r")
        self._write(first)
        for picture in after_returns:
            self._returned = True
            self._write(picture)

    def _write(self, text: bytes) -> None:
        if not text:
            return
        if self._returned:
            self._clear()
        room = MAX_LINE - len(self._kept)
        self._kept += text[:room]
        self._dropped += max(0, len(text) - room)

    def _clear(self) -> None:
        self._kept.clear()
        self._dropped = 0
        self._returned = False

    def _take(self) -> str:
        text = self._kept.decode("utf-8", "replace").replace("\0", "\ufffd")
        if self._dropped:
            text += f" … [{self._dropped} bytes dropped]"
        self._clear()
        return text

"""The pipes of one attempt: stdout, stderr, and the channel on which `nu.run()` speaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.protocol import MetricPoint
from orchestrator.sdk.plan import CHANNEL
from workers.feed import Feed, Stream
from workers.lines import LineSplitter

_CHUNK = 64 * 1024
_CHUNKS_PER_TURN = 16  # then the other attempts have their turn
LISTEN_AFTER = 0.05  # a job that ends sooner is read once, at its end, and costs no registrations


class CheckpointRequest:
    """The program waits in `run.checkpoint(path, step)` for an answer on its FIFO."""

    def __init__(self, path: Path, step: int, reply: Path) -> None:
        self.path = path
        self.step = step
        self._reply = reply

    def answer(self, error: str | None) -> None:
        """Let the program go on; with `error`, its call raises."""
        with contextlib.suppress(OSError):  # the program is gone
            fd = os.open(self._reply, os.O_WRONLY | os.O_NONBLOCK)
            os.write(fd, json.dumps({"error": error and error[:1500]}).encode())
            os.close(fd)


class Streams:
    """Reads without blocking, and stops reading while the feed is full: then the program waits."""

    def __init__(
        self,
        folder: Path,
        feed: Feed,
        on_output: Callable[[], None],
        on_checkpoint: Callable[[CheckpointRequest], None],
    ) -> None:
        self._folder = folder
        self._feed = feed
        self._on_output = on_output
        self._on_checkpoint = on_checkpoint
        out, self._stdout = os.pipe()
        err, self._stderr = os.pipe()
        # Open for writing as well, so that it never reports an end while programs come and go.
        channel = os.open(folder / CHANNEL, os.O_RDWR | os.O_CLOEXEC)
        self._sinks: dict[int, Callable[[bytes], None]] = {}
        self._splitters: dict[Stream, LineSplitter] = {"stdout": LineSplitter(), "stderr": LineSplitter()}
        self._partial = b""
        for fd, sink in ((out, self._on_stdout), (err, self._on_stderr), (channel, self._on_channel)):
            os.set_blocking(fd, False)
            self._sinks[fd] = sink
        self._listening: set[int] = set()

    @property
    def for_child(self) -> tuple[int, int]:
        """The ends of stdout and stderr that the process gets."""
        return self._stdout, self._stderr

    def close_child_ends(self) -> None:
        """To be called once the process has them."""
        os.close(self._stdout)
        os.close(self._stderr)

    def listen(self) -> None:
        """Read whenever there is something, as long as the feed has room."""
        self._feed.on_room = self.listen
        loop = asyncio.get_running_loop()
        for fd in self._sinks.keys() - self._listening:
            loop.add_reader(fd, self._on_readable, fd)
            self._listening.add(fd)

    def _on_readable(self, fd: int) -> None:
        if not self._read(fd):
            self._close(fd)
        elif not self._feed.has_room:
            self._deafen()
        if not self._feed.empty:
            self._on_output()

    def _deafen(self) -> None:
        for fd in self._listening:
            asyncio.get_running_loop().remove_reader(fd)
        self._listening.clear()

    def _close(self, fd: int) -> None:
        if fd in self._listening:
            asyncio.get_running_loop().remove_reader(fd)
            self._listening.discard(fd)
        del self._sinks[fd]
        os.close(fd)

    def _read(self, fd: int) -> bool:
        """Read what is there. False at the end of the stream."""
        for _ in range(_CHUNKS_PER_TURN):
            try:
                chunk = os.read(fd, _CHUNK)
            except BlockingIOError:
                break
            if not chunk:
                return False
            self._sinks[fd](chunk)
            if not self._feed.has_room or len(chunk) < _CHUNK // 16:
                break
        return True

    async def finish(self, room: Callable[[], Awaitable[None]]) -> None:
        """Read all that is left after the process and all of its descendants have gone. `room` waits for the feed."""
        self._feed.on_room = None
        self._deafen()
        for fd in list(self._sinks):
            while chunk := self._read_rest(fd):
                self._sinks[fd](chunk)
                if not self._feed.has_room:
                    self._on_output()
                    await room()
        self._finish_lines()

    def _read_rest(self, fd: int) -> bytes:
        try:
            return os.read(fd, _CHUNK)
        except BlockingIOError:
            return b""

    def _finish_lines(self) -> None:
        for stream, splitter in self._splitters.items():
            self._add(stream, splitter.finish())

    def close(self) -> None:
        """Give all descriptors back."""
        for fd in list(self._sinks):
            self._close(fd)

    def _on_stdout(self, chunk: bytes) -> None:
        self._add("stdout", self._splitters["stdout"].feed(chunk))

    def _on_stderr(self, chunk: bytes) -> None:
        self._add("stderr", self._splitters["stderr"].feed(chunk))

    def _add(self, stream: Stream, texts: list[str]) -> None:
        if texts:
            self._feed.add_lines(stream, texts)

    def _on_channel(self, chunk: bytes) -> None:
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        self._partial = self._partial[-_CHUNK:]
        for line in lines:
            try:
                self._on_message(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError, ValidationError, NeutrinoError):
                self._feed.add_system("The worker ignored a message that did not come from `nu.run()`.")

    def _on_message(self, message: dict[str, Any]) -> None:
        if "metrics" in message:
            step, at = message["step"], message["at"]
            points = message["metrics"].items()
            self._feed.add_metrics([MetricPoint(name=name, step=step, value=value, at=at) for name, value in points])
        elif "progress" in message:
            self._feed.set_progress(min(1.0, max(0.0, float(message["progress"]))), str(message["message"])[:512])
        else:
            reply = self._folder / Path(message["reply"]).name
            self._on_checkpoint(CheckpointRequest(Path(message["checkpoint"]), int(message["step"]), reply))

"""One attempt at a job of Neutrino's own: an artifact is copied or checked by a process of its own, which this runs.

It stages nothing and publishes nothing: where the bytes go is told by the order that came with the lease, and the
control plane has known it from the start.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import replace
from typing import Any

from orchestrator.domain.protocol import ArtifactUpload, Lease, MetricPoint
from orchestrator.domain.state import Reason
from orchestrator.domain.transfer import OWN_KINDS
from workers.attempt import Attempt
from workers.execution import Execution, Host
from workers.runner import job_environment
from workers.verdict import Verdict

_SECRETS_OF_THE_WORKER = frozenset({"NEUTRINO_TOKEN", "REDIS_URL", "DATABASE_URL"})
_LONGEST_LINE = 64 * 1024
_RENEW_SECONDS = 0.2  # between looks whether there is a new deadline to tell
_NOTHING_TO_DO = Verdict(
    Reason.DAMAGED, "There is no good copy to read from any more, or the artifact has been deleted meanwhile."
)


def begin(lease: Lease, host: Host) -> Execution:
    """What the lease asks for: a job of people, or one of Neutrino's own. Raises InvalidSpec for what this release does
    not know."""
    return Haul(lease, host) if lease.document["kind"] in OWN_KINDS else Attempt(lease, host)


class Haul(Execution):
    """An attempt at a job of Neutrino's own. Its process is our own code, whose memory is bounded."""

    def __init__(self, lease: Lease, host: Host) -> None:
        super().__init__(lease, host)
        self._order = lease.order
        self._process: Process | None = None
        self._hidden = asyncio.Event()
        self._found: Verdict | None = None
        self._damaged: set[str] = set()

    def kill(self) -> None:
        """End the process at once; the reason given before, if any, stays."""
        self._signal(signal.SIGKILL)

    def _terminate(self) -> bool:
        self._signal(signal.SIGTERM)
        return self._process is not None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _work(self) -> tuple[Verdict, ArtifactUpload | None]:
        found = replace(await self._run(), damaged=tuple(sorted(self._damaged)))
        return found, self._copied(found)

    async def _run(self) -> Verdict:
        if self._order is None:
            return _NOTHING_TO_DO
        # A socket and no pipe: that one could be opened a second time below /proc, by a job of the same account.
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-m", "workers.workloads.transfer"),
                stdin=theirs.fileno(),
                stdout=PIPE,
                stderr=PIPE,
                env=job_environment(os.environ),
                cwd=self._host.settings.data_dir,
                process_group=0,
                limit=_LONGEST_LINE,
            )
        self._process = process
        if self.lost or self._stop is not None:  # while it was being started
            self.kill()
        credentials = {name: value for name, value in os.environ.items() if name not in _SECRETS_OF_THE_WORKER}
        told = {"order": self._order.model_dump(mode="json"), "environment": credentials}
        telling = asyncio.create_task(self._tell(ours, told))
        try:
            await asyncio.gather(self._hear(process), self._hear_errors(process))
        except BaseException:
            self.kill()
            raise
        finally:
            telling.cancel()
            code = await process.wait()
        return self._verdict(code)

    async def _tell(self, ours: socket.socket, told: dict[str, Any]) -> None:
        """Credentials go to the process only when it has hidden its memory from jobs. After that it hears until when it
        may go on: when this process is stopped or cut off, it ends by itself, like what the zygote has started."""
        loop = asyncio.get_running_loop()
        with ours, suppress(ConnectionError):  # it died early; how it ended says more
            await self._hidden.wait()
            said = self._host.runner.good_until
            await loop.sock_sendall(ours, json.dumps(told | {"until": said}).encode() + b"\n")
            while True:
                await asyncio.sleep(_RENEW_SECONDS)
                if said != self._host.runner.good_until:
                    said = self._host.runner.good_until
                    await loop.sock_sendall(ours, json.dumps({"until": said}).encode() + b"\n")

    async def _hear(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            message = json.loads(line)
            if message.get("hidden"):
                self._hidden.set()
            if "progress" in message:
                self._feed.set_progress(min(1.0, message["progress"]), message["message"][:512])
            if "note" in message:
                self._feed.add_system(message["note"])
            if "damaged" in message:
                self._damaged.add(message["damaged"])
            if "metrics" in message:
                points = message["metrics"].items()
                at = time.time()
                self._feed.add_metrics([MetricPoint(name=name, step=0, value=value, at=at) for name, value in points])
            if "end" in message:
                self._found = Verdict(Reason(message["end"]), message["message"])
            self._host.shipper.poke()

    async def _hear_errors(self, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self._feed.add_lines("stderr", [line.decode(errors="replace").rstrip("\n")])
            self._host.shipper.poke()

    def _verdict(self, code: int) -> Verdict:
        if self._stop is not None:
            return self._stop
        if self._found is not None and code == 0:
            return self._found
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return Verdict(Reason.INFRA_ERROR, f"The process that moves the bytes {how}. {self._feed.last_stderr}".strip())

    def _copied(self, found: Verdict) -> ArtifactUpload | None:
        """What has become of the order, to be compared with what the control plane wanted."""
        order = self._order
        if order is None or order.action != "copy" or found.reason is not Reason.SUCCEEDED:
            return None
        target = order.target
        return ArtifactUpload(
            store=target.store, prefix=target.prefix, digest=order.digest, size=order.size, files=order.files
        )

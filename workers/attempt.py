"""One attempt on this worker, from its lease to its report."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from orchestrator import traces
from orchestrator.domain.document import parse
from orchestrator.domain.errors import InvalidSpec, LeaseLost, NeutrinoError
from orchestrator.domain.protocol import ArtifactUpload, Lease
from orchestrator.domain.spec import Command, Train
from orchestrator.domain.state import Reason
from orchestrator.sdk.plan import CHECKPOINTS, INPUTS, OUTPUT, RESUME, WORK, Plan, environment
from workers.execution import Execution, Host
from workers.folders import remove
from workers.limits import excess
from workers.runner import Exit
from workers.sampler import Sampler
from workers.streams import LISTEN_AFTER, CheckpointRequest, Streams
from workers.verdict import Verdict, verdict
from workers.watched import LeftCheckpoint, WatchedFolder
from workers.zygote import clock

Result = TypeVar("Result")


class _Stopped(Exception):
    """The attempt is to end, and what was going on is not needed any more."""


class Attempt(Execution):
    """An attempt at a job of people: their program, what it reads, and what it leaves behind."""

    def __init__(self, lease: Lease, host: Host) -> None:
        super().__init__(lease, host)
        self.spec = parse(lease.document)
        self._traceparent = lease.traceparent
        self._folder = host.folders.take()
        self._watched = WatchedFolder(self._folder / CHECKPOINTS)
        self._resume_step: int | None = None
        self._leader: int | None = None
        self._gpus: tuple[str, ...] = ()
        self._sampler: Sampler | None = None
        self._running = False
        self._checkpoints: set[asyncio.Task[None]] = set()
        self._filling: Future[Any] | None = None
        self._forsaken = threading.Event()

    def kill(self) -> None:
        """End the attempt's processes at once; the reason given before, if any, stays."""
        if self._running:
            self._host.runner.kill(self.name)

    def lose(self) -> None:
        self._forsaken.set()
        super().lose()

    def started(self, leader: int) -> None:
        """The process exists."""
        self._leader = leader

    def check_limits(self, table: dict[int, int]) -> None:
        """Stop the attempt if it uses more than it may, and note what it uses. `table` is `proctree.parents()`."""
        if self._leader is None or not self._running or self._stop is not None:
            return
        found = excess(self._leader, self.spec.resources.memory, self._host.settings.most_processes, table)
        if found is not None:
            self.stop(found, grace=0)
        self._sampler = self._sampler or Sampler(self._leader, self._gpus, self.began)
        if self._sampler.due(now := clock()):
            self._feed.add_metrics(self._sampler.sample(table, now))
            self._host.shipper.poke()

    def want_checkpoint(self) -> None:
        """Tell the program that a checkpoint is wanted now; one that is just being stored will do."""
        if self._running and not self._checkpoints:
            self._watched.want()

    def take_checkpoints(self) -> None:
        """Publish the checkpoints that the program has left in its watched folder."""
        if self._running and not self.lost:
            for left in self._watched.take():
                self._on_checkpoint(left)

    def _terminate(self) -> bool:
        if self._running:
            self._host.runner.signal(self.name, signal.SIGTERM)
        return self._running

    async def _work(self) -> tuple[Verdict, ArtifactUpload | None]:
        with traces.span("attempt", self._traceparent, attempt=self.name) as traced:
            self._traceparent = traced.traceparent
            found, output = await self._run()
            traced.add(reason=found.reason)
        return found, output

    async def _run(self) -> tuple[Verdict, ArtifactUpload | None]:
        try:
            with traces.span("stage", self._traceparent):
                await self._stage()
            end = await self._execute() if self._stop is None and not self.lost else Exit(None)
        except _Stopped:
            end = Exit(None)
        except (NeutrinoError, OSError) as error:
            return self._unless_stopped(Verdict(Reason.STAGING_FAILED, f"The inputs could not be had. {error}")), None
        kernel_oom = end.code == -signal.SIGKILL and self._stop is None and self._host.oom.rose()
        found = verdict(end, self._stop, self._feed.last_stderr, kernel_oom=kernel_oom)
        if found.reason is not Reason.SUCCEEDED or self.lost:
            return found, None
        return await self._store_output(found)

    async def _store_output(self, found: Verdict) -> tuple[Verdict, ArtifactUpload | None]:
        """Publish what the job left behind. What can never be published is the job's own fault: it is not tried again,
        because it would end the same."""
        if not self._host.publishes:
            return found, None
        output, model = self._folder / OUTPUT, self.spec.outputs.model
        if output.is_symlink() or not output.is_dir():
            text = "The job removed or replaced its output folder; write files into it instead."
            return Verdict(Reason.INVALID_OUTPUT, text), None
        if not any(os.scandir(output)):
            text = f"The job was to make model {model}, and wrote nothing to its output folder (nu.run().output_dir)."
            return Verdict(Reason.INVALID_OUTPUT, text) if model else found, None
        try:
            return found, await self._publish_output()
        except _Stopped:
            return self._unless_stopped(found), None
        except (InvalidSpec, UnicodeError) as error:
            return self._unless_stopped(Verdict(Reason.INVALID_OUTPUT, f"The output cannot be stored. {error}")), None
        except (NeutrinoError, OSError) as error:
            return self._unless_stopped(Verdict(Reason.UPLOAD_FAILED, f"The output could not be stored. {error}")), None

    def _unless_stopped(self, found: Verdict) -> Verdict:
        return self._stop or found

    async def _stage(self) -> None:
        folder = self._folder
        spec, lease = self.spec, self._lease
        depot = self._host.depot
        if isinstance(spec, Command) and spec.files:
            await self._filled(lambda end: depot.stage_files(spec.files, self._lease.token, folder / WORK, end))
            self._feed.add_system(f"Staged files: {len(spec.files)}.")
        if lease.inputs:
            inputs = folder / INPUTS
            for line in await self._filled(lambda end: depot.stage_inputs(self.name, lease.inputs, inputs, end)):
                self._feed.add_system(line)
        if lease.resume is not None:
            sources = (lease.resume, *lease.fallbacks)
            resume = folder / RESUME
            had = await self._filled(lambda end: depot.stage_checkpoint(self.name, sources, resume, end))
            for passed in had.passed:
                source = passed.source
                self._feed.add_system(f"The checkpoint at step {source.step} in {source.store}: {passed.why}")
            self._feed.add_system(f"Resuming from the checkpoint at step {had.source.step}.")
            self._resume_step = had.source.step
        if wanted := spec.resources.gpu:
            self._gpus = await self._unless_told_to_stop(self._host.gpus.take(wanted.per_node))
        self._plan().write(folder)

    def _plan(self) -> Plan:
        spec = self.spec
        program = spec if isinstance(spec, Command) else None
        return Plan(
            attempt=self.name,
            workload=spec.workload if isinstance(spec, Train) else "command",
            params=dict(spec.params),
            dataset=spec.dataset if isinstance(spec, Train) else None,
            env=environment(
                self._folder,
                {**self._trace_environment(), **spec.env, **self._host.env, **self._host.gpus.environment(self._gpus)},
                self._resume_step,
                reads=bool(self._lease.inputs),
            ),
            command=list(program.command) if program and program.command else None,
            entrypoint=program.entrypoint if program else None,
            resume_step=self._resume_step,
            inputs=[one.name for one in self._lease.inputs],
        )

    def _trace_environment(self) -> dict[str, str]:
        """What lets the job's own spans belong to ours: https://opentelemetry.io/docs/specs/otel/context/env-carriers"""
        return {traces.HEADER.upper(): self._traceparent} if self._traceparent else {}

    async def _execute(self) -> Exit:
        host = self._host
        streams = Streams(self._folder, self._feed, host.shipper.poke, self._on_checkpoint)
        try:
            ended = host.runner.start(self.name, self._folder, streams.for_child)
            self._running = True
            streams.close_child_ends()
            self._after(LISTEN_AFTER, streams.listen)
            with traces.span("run", self._traceparent):
                end = await ended
            self.take_checkpoints()
            self._running = False
            if not self.lost:
                await streams.finish(lambda: host.shipper.room(self.name))
                await asyncio.gather(*self._checkpoints)
        finally:
            streams.close()
        return end

    async def _publish_output(self) -> ArtifactUpload:
        prefix = f"{self._lease.prefix}/output"
        with traces.span("upload", self._traceparent):
            publishing = self._host.publishing.submit(self._host.depot.publish, self._folder / OUTPUT, prefix)
            upload = await self._unless_told_to_stop(asyncio.wrap_future(publishing))
        self._feed.add_system(f"Stored the output: files {upload.files}, bytes {upload.size}.")
        return upload

    def _on_checkpoint(self, request: CheckpointRequest | LeftCheckpoint) -> None:
        task = asyncio.get_running_loop().create_task(self._checkpoint(request))
        self._checkpoints.add(task)
        task.add_done_callback(self._checkpoints.discard)

    async def _checkpoint(self, request: CheckpointRequest | LeftCheckpoint) -> None:
        """Upload a checkpoint, and commit it once all that the program said before is accepted: whoever resumes there
        does not say it again."""
        host, loop, mark = self._host, asyncio.get_running_loop(), self._feed.mark
        depot, prefix = host.depot, self._lease.prefix
        try:
            upload = await loop.run_in_executor(
                host.publishing, lambda: depot.publish_checkpoint(request.path, request.step, prefix)
            )
            await host.shipper.reach(self.name, mark)
            old = await loop.run_in_executor(
                host.publishing, lambda: depot.commit_checkpoint(self.name, request.step, upload, self._forsaken)
            )
        except LeaseLost:
            self.lose()
        except Exception as error:  # noqa: BLE001 - whatever it is, the program waits for the answer
            self._feed.add_system(f"The checkpoint at step {request.step} was not stored. {error}")
            request.answer(str(error))
        else:
            request.answer(None)
            host.bulk.submit(depot.discard, upload.store, old)  # the program does not wait for that, nor does a move

    async def _filled(self, work: Callable[[threading.Event], Result]) -> Result:
        """Do blocking work that fills the folder, in a thread; it gets what is set once nobody waits for it. Raises
        _Stopped when the attempt is to end before that is done."""
        end = threading.Event()
        self._filling = self._host.bulk.submit(work, end)
        try:
            return await self._unless_told_to_stop(asyncio.wrap_future(self._filling))
        finally:
            end.set()

    async def _unless_told_to_stop(self, work: Awaitable[Result]) -> Result:
        """Wait for it. Raises _Stopped when the attempt is to end before that is done; then it is cancelled."""
        doing = asyncio.ensure_future(work)
        stopped: asyncio.Future[object] = asyncio.ensure_future(self._stopped.wait())
        both: list[asyncio.Future[Any]] = [doing, stopped]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not doing.done():
            doing.cancel()
            raise _Stopped
        return doing.result()

    def _clear(self) -> None:
        """Make the folder ready for the next attempt, and give back what this one held. Where there is much to remove,
        the report does not wait for that. A folder that a thread still fills is for nobody else: it goes with that."""
        self._host.gpus.give_back(self._gpus)
        filling, folder = self._filling, self._folder
        if filling is not None and not filling.cancel() and not filling.done():
            filling.add_done_callback(lambda _: remove(folder))
        elif self.lost or not self._host.folders.give_back(folder):
            self._host.bulk.submit(remove, folder)

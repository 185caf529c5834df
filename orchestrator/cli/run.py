"""`neutrino run -- python train.py`: submit a command, follow it, and end as it ends."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.arguments import connect, pairs
from orchestrator.cli.inspect import tell_if_stuck
from orchestrator.cli.logs import render
from orchestrator.cli.output import note, write

if TYPE_CHECKING:
    from orchestrator.sdk.jobs import JobHandle


def run(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="The program and its arguments.")],
    name: Annotated[str | None, typer.Option("--name", help="The job's name; the program's by default.")] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="KEY=VALUE", help="A variable for it.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="A label.")] = None,
    file: Annotated[
        list[str] | None, typer.Option("--file", "-f", metavar="PATH", help="A file to take along.")
    ] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", metavar="TYPE[:COUNT]", help="Such as T4 or A100:8.")] = None,
    cpu: Annotated[float | None, typer.Option("--cpu", help="CPUs it needs.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", metavar="AMOUNT", help="Such as 8Gi.")] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="Only in this pool.")] = None,
    spot: Annotated[
        str,
        typer.Option("--spot", metavar="never|prefer|only", help="Machines that may be taken back at short notice."),
    ] = "never",
    max_cost_usd: Annotated[
        float | None, typer.Option("--max-cost-usd", metavar="USD", help="Stop it when its attempts have cost this.")
    ] = None,
    retries: Annotated[int, typer.Option("--retries", min=0, help="How often its own errors are tried again.")] = 0,
    timeout: Annotated[str | None, typer.Option("--timeout", metavar="DURATION", help="Stop it after 90s, 1h.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the job's id and return at once.")] = False,
) -> int:
    """Run a command as a job and follow its output.

    Options after the program are its own. --env, --label and --file may be repeated. Files keep their relative paths.
    The exit code is 0, 8 when the job failed, 9 when it was cancelled. Ctrl-C detaches and leaves the job running.
    """
    from orchestrator.domain.spec import Command, Placement, Resources, Retry

    wanted: dict[str, Any] = {"gpu": gpu, "cpu": cpu, "memory": memory}
    placement: dict[str, Any] = {"pool": pool, "spot": spot, "max_cost_usd": max_cost_usd}
    fields: dict[str, Any] = {"timeout": timeout} if timeout else {}
    spec = Command(
        name=name or _name(command),
        command=tuple(command),
        env=pairs(env or (), "--env"),
        labels=pairs(label or (), "--label"),
        resources=Resources(**{key: value for key, value in wanted.items() if value is not None}),
        placement=Placement(**placement),
        retry=Retry(max=retries),
        **fields,
    )
    with connect() as client:
        uploaded = client.files.upload(_by_path_in_job(file or ()))
        job = client.jobs.submit(spec.model_copy(update={"files": uploaded}))
        if detach:
            write(f"{job.id}\n")
            return 0
        note(f"Submitted {job.id} ({job.name}).", style="dim")
        tell_if_stuck(job)
        return _follow(job)


def _by_path_in_job(files: Sequence[str]) -> dict[str, str]:
    placed: dict[str, str] = {}
    for path in files:
        where = _path_in_job(path)
        if placed.setdefault(where, path) != path:
            raise typer.BadParameter(f"{placed[where]} and {path} would both be {where} in the job.")
    return placed


def _follow(job: JobHandle) -> int:
    from orchestrator.domain.errors import JobFailed

    try:
        for line in job.logs(follow=True):
            if line.stream == "stdout":
                write(render(line))
            elif line.stream == "stderr":
                sys.stderr.write(render(line))
            else:
                note(render(line).rstrip("\n"), style="dim")
    except KeyboardInterrupt:
        hint = f"neutrino logs -f {job.id}"
        note(f"Detached; {job.id} goes on. Attach again with `{hint}`, end it with `neutrino cancel {job.id}`.")
        raise
    try:
        job.wait()
    except JobFailed as failure:
        failure.details["log_tail"] = []  # its lines have just been printed
        raise
    note(f"{job.id} ({job.name}) succeeded.", style="dim")
    return 0


def _name(command: list[str]) -> str:
    """A name from the script that an interpreter runs, otherwise from the program."""
    script = next((word for word in command[1:] if word.endswith((".py", ".sh"))), command[0])
    return re.sub(r"[^a-z0-9]+", "-", PurePosixPath(script).stem.lower())[:63].strip("-") or "command"


def _path_in_job(path: str) -> str:
    """Relative paths stay as they are, so that the command finds its files; others are known by their name."""
    local = Path(path)
    return local.name if local.is_absolute() or ".." in local.parts else local.as_posix()

"""`neutrino doctor`: what works, what does not, and how to mend it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from orchestrator.cli.output import Format, Output, ago, draw, emit_data

if TYPE_CHECKING:
    from orchestrator.domain.views import ComponentView
    from orchestrator.sdk.client import Client

_ESSENTIAL = {"scheduler": "Start one: `neutrino up`, or look at its pod's log."}
_NO_WORKER = "Start one: `neutrino up --workers 1`, or scale the pool's deployment."
_ICON = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "broken": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `verdict` is ok, warning or broken, and `fix` mends what is not ok."""

    check: str
    verdict: str
    detail: str
    fix: str | None = None


def doctor(output: Output = Format.TABLE) -> None:
    """Check that everything works, with a fix for each fault.

    Profile, API, database, token, scheduler, broker, workers, pools and the GPUs of this machine. The exit code is 1
    when something essential is broken.
    """
    findings = list(_examine())
    if output in {Format.JSON, Format.YAML}:
        emit_data([as_dict(finding) for finding in findings], output)
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            _tell(finding, width)
    if any(finding.verdict == "broken" for finding in findings):
        raise typer.Exit(1)


def as_dict(finding: Finding) -> dict[str, str | None]:
    """A finding as plain data."""
    return {name: getattr(finding, name) for name in ("check", "verdict", "detail", "fix")}


def _tell(finding: Finding, width: int) -> None:
    from rich.text import Text

    icon, colour = _ICON[finding.verdict]
    draw(Text.assemble((icon, colour), f" {finding.check:<{width}}  {finding.detail}"))
    if finding.fix:
        draw(Text(f"  {'':<{width}}  → {finding.fix}", style="dim"))


def _examine() -> Iterator[Finding]:
    """The checks in the order of the path of a job. What cannot be asked because the API is away is left out."""
    from orchestrator.domain.errors import NeutrinoError
    from orchestrator.sdk.client import Client

    try:
        client = Client()
    except NeutrinoError as error:
        yield Finding("profile", "broken", error.message, error.hint)
    else:
        with client:
            yield Finding("profile", "ok", client.url)
            yield from _examine_api(client)
    yield _gpu()


def _examine_api(client: Client) -> Iterator[Finding]:
    from orchestrator.domain.errors import NeutrinoError

    for check, look in (("api and database", _ready), ("token", _token), ("", _parts)):
        try:
            yield from look(client)
        except NeutrinoError as error:
            yield Finding(check, "broken", error.message, error.hint)
            return


def _ready(client: Client) -> Iterator[Finding]:
    client.ready()
    yield Finding("api and database", "ok", "both answer")


def _token(client: Client) -> Iterator[Finding]:
    me = client.whoami()
    yield Finding("token", "ok", f"{me.user} in {me.workspace} ({me.role})")


def _parts(client: Client) -> Iterator[Finding]:
    """What the parts of the control plane have last said of themselves, and whether somebody can run jobs."""
    status = client.status()
    for kind, fix in _ESSENTIAL.items():
        parts = [part for part in status.components if part.kind == kind]
        yield _one_is_enough(kind, parts, fix)
    yield _broker([part for part in status.components if part.kind == "scheduler" and part.healthy])
    workers = list(client.workers.list())
    online = [worker for worker in workers if worker.online]
    slots = sum(worker.slots for worker in online if not worker.draining)
    detail = f"{len(online)} online with {slots} slots"
    yield Finding("workers", "ok", detail) if slots else Finding("workers", "broken", detail, _NO_WORKER)
    stores = sorted({pool.name for pool in client.pools.list()})
    detail = ", ".join(stores) or "none"
    yield Finding("pools", "ok", detail) if stores else Finding("pools", "broken", detail, "neutrino pool create")


def _broker(schedulers: list[ComponentView]) -> Finding:
    """The schedulers ring its bells, and say when it does not take them. Jobs go on without it, only later."""
    silent = next((part.detail for part in schedulers if "broker" in part.detail), None)
    if silent is None:
        return Finding("broker", "ok", "takes what the schedulers send")
    return Finding("broker", "warning", silent, "Look at Redis and at REDIS_URL. Jobs start later meanwhile.")


def _one_is_enough(kind: str, parts: list[ComponentView], fix: str) -> Finding:
    healthy = [part for part in parts if part.healthy]
    if not parts:
        return Finding(kind, "broken", "none has shown itself", fix)
    latest = max(parts, key=lambda part: part.seen_at)
    seen = f"seen {ago(latest.seen_at)} ago"
    if not healthy:
        return Finding(kind, "broken", f"none is alive, the last was {seen}", fix)
    return Finding(kind, "ok", f"{len(healthy)} alive, {seen}")


def _gpu() -> Finding:
    """The GPUs of this machine. Having none is no fault: jobs may run elsewhere, or need none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Finding("gpu here", "ok", "none (nvidia-smi is not installed)")
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return Finding("gpu here", "warning", "nvidia-smi does not answer", "Look at the driver with `dmesg`.")
    if listed.returncode != 0:
        return Finding("gpu here", "warning", listed.stdout.strip() or listed.stderr.strip(), "Reinstall the driver.")
    names = [line.partition(":")[2].partition("(")[0].strip() for line in listed.stdout.splitlines()]
    return Finding("gpu here", "ok", ", ".join(names) or "none")

"""`neutrino doctor`: what works, what does not, and how to mend it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from orchestrator.cli.arguments import connect
from orchestrator.cli.output import Format, Output, ago, draw, emit_data

if TYPE_CHECKING:
    from orchestrator.domain.pods import ClusterView
    from orchestrator.domain.views import ComponentView, PoolView
    from orchestrator.sdk.client import Client

_NO_SCHEDULER = "Start one: `neutrino up`, or look at its pod's log."
_NO_LAUNCHER = "Start one with NEUTRINO_POOL naming a pool of this cluster, or look at its pod's log."
_STORE = "Look at the API's credentials and at the address of the pool's store (`neutrino pool list -o wide`)."
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

    Profile, API, database, token, scheduler, broker, object stores, workers, pools, clusters and GPUs. The exit
    code is 1 when something essential is broken.
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

    try:
        client = connect()
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
    yield _scheduler([part for part in status.components if part.kind == "scheduler"])
    yield _broker([part for part in status.components if part.kind == "broker"])
    yield from _stores(client, status.components)
    workers = list(client.workers.list())
    online = [worker for worker in workers if worker.online]
    slots = sum(worker.slots for worker in online if not worker.draining)
    detail = f"{len(online)} online with {slots} slots"
    yield Finding("workers", "ok", detail) if slots else Finding("workers", "broken", detail, _NO_WORKER)
    pools = sorted(client.pools.list(), key=lambda pool: pool.name)
    detail = ", ".join(pool.name for pool in pools) or "none"
    yield Finding("pools", "ok", detail) if pools else Finding("pools", "broken", detail, "neutrino pool create")
    yield from (_gpu_pool(pool) for pool in pools if pool.gpu)
    for cluster in client.clusters.list():
        yield from _cluster(cluster)


def _broker(parts: list[ComponentView]) -> Finding:
    """The schedulers say whether it takes their bells. Jobs go on without it, only later."""
    latest = max(parts, key=lambda part: part.seen_at, default=None)
    if latest is None or not latest.alive:
        return Finding("broker", "warning", "no scheduler has asked it lately", _NO_SCHEDULER)
    if latest.state == "well":
        return Finding("broker", "ok", latest.detail)
    return Finding("broker", "warning", latest.detail, "Look at Redis and at REDIS_URL. Jobs start later meanwhile.")


def _stores(client: Client, parts: tuple[ComponentView, ...]) -> Iterator[Finding]:
    """Write, read and delete an object in each. Who may not have that done is told what the API has seen by itself."""
    from orchestrator.domain.errors import PermissionDenied

    try:
        checks = client.pools.check_stores().items
    except PermissionDenied:
        for part in (part for part in parts if part.kind == "store"):
            ok = part.state == "well"
            yield Finding("store", "ok" if ok else "broken", f"{part.name}: {part.detail}", None if ok else _STORE)
        return
    for check in checks:
        if check.fault is None:
            yield Finding("store", "ok", f"{check.store}: writes, reads, deletes")
            continue
        verdict = "warning" if check.can_read else "broken"
        what = "can be read, but not written" if check.can_read else "cannot be used"
        yield Finding("store", verdict, f"{check.store} {what}: {check.fault}", check.hint or _STORE)


def _gpu_pool(pool: PoolView) -> Finding:
    """A pool of GPUs without a worker keeps its jobs waiting: right where workers come when they are needed."""
    if pool.slots:
        return Finding("gpu", "ok", f"{pool.name}: {pool.slots} slots with {pool.gpu}")
    fix = f"Start a worker with NEUTRINO_POOL={pool.name} on a machine with {pool.gpu}."
    return Finding("gpu", "warning", f"{pool.name}: no worker with {pool.gpu} is online", fix)


def _cluster(cluster: ClusterView) -> Iterator[Finding]:
    """What its launchers found when they last looked. Jobs may run elsewhere meanwhile."""
    name = f"cluster {cluster.name}"
    if cluster.pools and not cluster.launchers:
        yield Finding(name, "warning", "no launcher is online", _NO_LAUNCHER)
        return
    failed = [check for check in cluster.checks if not check.ok]
    yield from (Finding(name, "warning", f"{one.name}: {one.detail}", one.fix) for one in failed)
    if not failed:
        seen = f"checked {ago(cluster.checked_at)} ago" if cluster.checked_at else "never checked"
        yield Finding(name, "ok", f"{cluster.launchers} launchers, {seen}")


def _scheduler(parts: list[ComponentView]) -> Finding:
    """One is enough."""
    kind, fix = "scheduler", _NO_SCHEDULER
    alive = [part for part in parts if part.alive]
    if not parts:
        return Finding(kind, "broken", "none has shown itself", fix)
    latest = max(parts, key=lambda part: part.seen_at)
    seen = f"seen {ago(latest.seen_at)} ago"
    if not alive:
        return Finding(kind, "broken", f"none is alive, the last was {seen}", fix)
    return Finding(kind, "ok", f"{len(alive)} alive, {seen}")


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

"""Pools, workers and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.arguments import connect
from orchestrator.cli.output import Column, Format, Output, ago, emit, emit_one, note, write


def _date(at: Any) -> str:
    return f"{at:%Y-%m-%d}" if at else "never"


def _worker_state(worker: Any) -> str:
    if not worker.online:
        return "offline"
    return "draining" if worker.draining else "online"


_POOLS = (
    Column("NAME", lambda pool: pool.name),
    Column("CLOUD", lambda pool: pool.cloud),
    Column("REGION", lambda pool: pool.region),
    Column("GPU", lambda pool: pool.gpu or ""),
    Column("WORKERS", lambda pool: str(pool.workers)),
    Column("SLOTS", lambda pool: str(pool.slots)),
    Column("RUNNING", lambda pool: str(pool.running)),
    Column("DISPATCHED", lambda pool: str(pool.dispatched)),
    Column("USD/H", lambda pool: "" if pool.usd_per_hour is None else f"{pool.usd_per_hour:.4g}"),
    Column("SPOT", lambda pool: "yes" if pool.spot else "", wide=True),
    Column("CLUSTER", lambda pool: pool.cluster or "", wide=True),
    Column("STORE", lambda pool: pool.store, wide=True),
    Column("QUEUE", lambda pool: pool.queue, wide=True),
)
_WORKERS = (
    Column("ID", lambda worker: worker.id),
    Column("NAME", lambda worker: worker.name),
    Column("POOL", lambda worker: worker.pool),
    Column("STATE", _worker_state),
    Column("RUNNING", lambda worker: f"{worker.running}/{worker.slots}"),
    Column("SEEN", lambda worker: ago(worker.heartbeat_at)),
    Column("HOST", lambda worker: f"{worker.host}:{worker.pid}", wide=True),
    Column("VERSION", lambda worker: worker.version, wide=True),
    Column("UP", lambda worker: ago(worker.started_at)),
)
_TOKENS = (
    Column("ID", lambda token: token.id),
    Column("NAME", lambda token: token.name),
    Column("USER", lambda token: token.user),
    Column("ROLE", lambda token: token.role),
    Column("AGE", lambda token: ago(token.created_at)),
    Column("USED", lambda token: ago(token.last_used_at)),
    Column("EXPIRES", lambda token: "revoked" if token.revoked_at else _date(token.expires_at)),
)


def list_pools(output: Output = Format.TABLE) -> None:
    """List the pools."""
    with connect() as client:
        emit(client.pools.list(), _POOLS, output, name="name")


def create_pool(
    name: Annotated[str, typer.Argument(help="Its name.")],
    store: Annotated[str, typer.Option("--store", metavar="URI", help="The object store next to it.")],
    cloud: Annotated[str, typer.Option("--cloud", help="aws, gcp, azure or local.")] = "local",
    region: Annotated[str, typer.Option("--region", help="Where in that cloud.")] = "local",
    gpu: Annotated[str | None, typer.Option("--gpu", metavar="TYPE[:COUNT]", help="What each slot has.")] = None,
    usd_per_hour: Annotated[
        float | None, typer.Option("--usd-per-hour", min=0, help="What one slot costs; the cost of jobs comes from it.")
    ] = None,
    cluster: Annotated[str | None, typer.Option("--cluster", help="Its jobs run as pods on this cluster.")] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="How that names GPUs: eks, gke, aks or generic, the default.")
    ] = None,
    spot: Annotated[
        bool, typer.Option("--spot", help="Its machines may be taken back at short notice; only some jobs accept that.")
    ] = False,
    pods: Annotated[
        Path | None, typer.Option("--pods", metavar="FILE", help="YAML with what else its pods have in common.")
    ] = None,
) -> None:
    """Create a pool."""
    from orchestrator.domain.views import CreatePool

    for option, given in (("--preset", preset), ("--pods", pods)):
        if cluster is None and given is not None:
            raise typer.BadParameter("needs --cluster: it is about pods.", param_hint=option)
    fields: dict[str, Any] = {"name": name, "cloud": cloud, "region": region, "gpu": gpu, "store": store, "spot": spot}
    if cluster is not None:
        fields |= {"cluster": cluster, "pods": ({"preset": preset} if preset else {}) | _read(pods)}
    wanted = CreatePool(**fields, usd_per_hour=usd_per_hour)
    with connect() as client:
        pool = client.pools.create(wanted)
    write(f"{pool.name}\n")


def set_pool(
    name: Annotated[str, typer.Argument(help="The pool's name.")],
    usd_per_hour: Annotated[
        float | None, typer.Option("--usd-per-hour", min=0, help="What one slot costs, now and in the past.")
    ] = None,
    no_price: Annotated[bool, typer.Option("--no-price", help="Nobody knows what a slot costs.")] = False,
) -> None:
    """Change the price of a pool."""
    if (usd_per_hour is None) is not no_price:
        raise typer.BadParameter("Give --usd-per-hour or --no-price.")
    with connect() as client:
        pool = client.pools.set_price(name, usd_per_hour)
    cost = "has no price" if pool.usd_per_hour is None else f"costs ${pool.usd_per_hour:.4g} an hour for each slot"
    note(f"{pool.name} {cost}.")


def _read(path: Path | None) -> dict[str, Any]:
    from orchestrator.domain.errors import FieldError, InvalidSpec
    from orchestrator.domain.yaml import load_documents

    if path is None:
        return {}
    try:
        found = load_documents(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeError) as error:
        raise InvalidSpec.of([FieldError(str(path), f"cannot be read: {error}")]) from error
    if len(found) > 1:
        raise InvalidSpec.of([FieldError(str(path), "holds several documents", "Give one: the settings of the pods.")])
    return dict(found[0])


def list_workers(output: Output = Format.TABLE) -> None:
    """List the workers."""
    with connect() as client:
        emit(client.workers.list(), _WORKERS, output)


def drain(worker: Annotated[str, typer.Argument(metavar="WORKER", help="The worker's id, such as w-9rg.")]) -> None:
    """Let a worker save or finish what it runs and take nothing new."""
    with connect() as client:
        now = client.workers.drain(worker)
    note(f"{now.id} ({now.name}) is draining; {now.running} running.")


def list_tokens(output: Output = Format.TABLE) -> None:
    """List the tokens of this workspace, without their secrets."""
    with connect() as client:
        emit(client.tokens.list(), _TOKENS, output)


def create_token(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    user: Annotated[str, typer.Option("--user", help="Who it belongs to.")],
    role: Annotated[str, typer.Option("--role", help="viewer, submitter, operator, admin or worker.")] = "submitter",
    expires_in_days: Annotated[
        int, typer.Option("--expires-in-days", min=1, max=3650, help="How long it is good.")
    ] = 365,
    output: Output = Format.TABLE,
) -> None:
    """Create a token and print it: it is shown this once."""
    from orchestrator.domain.views import CreateToken

    fields: dict[str, Any] = {"name": name, "user": user, "role": role, "expires_in_days": expires_in_days}
    wanted = CreateToken(**fields)
    with connect() as client:
        created = client.tokens.create(wanted)
    if emit_one(created, output):
        return
    note(f"{created.id} for {created.user} ({created.role}). Keep it: it is not shown again.", style="dim")
    write(f"{created.token}\n")


def revoke_token(token: Annotated[str, typer.Argument(metavar="TOKEN-ID", help="Such as t-9rg.")]) -> None:
    """End a token at once."""
    with connect() as client:
        client.tokens.revoke(token)
    note(f"{token} is revoked.")

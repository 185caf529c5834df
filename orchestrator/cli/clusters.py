"""Clusters on which pools of pods live."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from orchestrator.cli.arguments import connect
from orchestrator.cli.output import Column, Format, Output, ago, emit, emit_data, note, plain, write

_PATIENCE = 240.0
_PAUSE = 0.5

Name = Annotated[str, typer.Argument(metavar="CLUSTER", help="Its name here.")]


def _state(cluster: Any) -> str:
    if cluster.draining:
        return "draining"
    if cluster.checked_at is None:
        return "unchecked"
    return "ok" if all(check.ok for check in cluster.checks) else "faulty"


_CLUSTERS = (
    Column("NAME", lambda cluster: cluster.name),
    Column("KIND", lambda cluster: cluster.kind),
    Column("WHERE", lambda cluster: "/".join(filter(None, (cluster.project, cluster.region, cluster.cluster)))),
    Column("STATE", _state),
    Column("LAUNCHERS", lambda cluster: str(cluster.launchers)),
    Column("POOLS", lambda cluster: " ".join(cluster.pools)),
    Column("CHECKED", lambda cluster: ago(cluster.checked_at)),
    Column("NAMESPACE", lambda cluster: cluster.namespace or "", wide=True),
)
_CHECKS = (
    Column("CHECK", lambda check: check.name),
    Column("OK", lambda check: "ok" if check.ok else "FAILED"),
    Column("FOUND", lambda check: check.detail),
    Column("FIX", lambda check: check.fix or "", wide=True),
)


def list_clusters(output: Output = Format.TABLE) -> None:
    """List the clusters."""
    with connect() as client:
        emit(client.clusters.list(), _CLUSTERS, output, name="name")


def add(
    name: Annotated[str, typer.Argument(help="Its name here.")],
    kind: Annotated[str, typer.Option("--kind", help="eks, gke, aks, kubeconfig or incluster.")] = "kubeconfig",
    cluster: Annotated[str | None, typer.Option("--cluster", help="Its name at the provider.")] = None,
    region: Annotated[str | None, typer.Option("--region", help="The region, or location of GKE.")] = None,
    project: Annotated[str | None, typer.Option("--project", help="Google project or Azure subscription.")] = None,
    resource_group: Annotated[str | None, typer.Option("--resource-group", help="Of Azure.")] = None,
    kubeconfig: Annotated[str | None, typer.Option("--kubeconfig", help="A path where the launcher runs.")] = None,
    context: Annotated[str | None, typer.Option("--context", help="Of the kubeconfig.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", help="Where the pods go.")] = None,
) -> None:
    """Write down where a cluster is.

    No credential is stored: the launcher opens it with its own identity.
    """
    from orchestrator.domain.pods import CreateCluster

    given: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "cluster": cluster,
        "region": region,
        "project": project,
        "resource_group": resource_group,
        "kubeconfig": kubeconfig,
        "context": context,
        "namespace": namespace,
    }
    wanted = CreateCluster(**{key: value for key, value in given.items() if value is not None})
    with connect() as client:
        made = client.clusters.add(wanted)
    note(f"Next: neutrino pool create POOL --cluster {made.name} --store URI, then start its launcher.", style="dim")
    write(f"{made.name}\n")


def check(
    name: Name,
    output: Output = Format.TABLE,
    here: Annotated[
        bool, typer.Option("--here", help="Look from this machine, as you, instead of asking the launcher.")
    ] = False,
    image: Annotated[str | None, typer.Option("--image", help="With --here: the worker image to try.")] = None,
) -> None:
    """See what a cluster still lacks.

    Tries permissions, GPUs, the image, and the ways to API and store.
    """
    with connect() as client:
        checks = _look(client, name, image) if here else _ask(client, name)
    if output in {Format.JSON, Format.YAML}:
        emit_data([plain(one) for one in checks], output)
    else:
        emit(iter(checks), _CHECKS, output, name="name")
        for one in checks:
            if not one.ok and one.fix:
                note(f"Fix for {one.name}: {one.fix}")
    if not all(one.ok for one in checks):
        raise typer.Exit(1)


def _ask(client: Any, name: str) -> Any:
    from orchestrator.domain.errors import WaitTimeout

    asked = client.clusters.check(name).asked_at
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        view = client.clusters.get(name)
        if view.checked_at is not None and view.checked_at > asked:
            return view.checks
        time.sleep(_PAUSE)
    raise WaitTimeout(f"The launcher of {name} has not answered.", hint="Read its log.")


def _look(client: Any, name: str, image: str | None) -> Any:
    from cloud_adapters.cluster.access import open_cluster
    from cloud_adapters.cluster.check import Wanted, examine
    from cloud_adapters.cluster.manifests import PodTarget
    from orchestrator.domain.errors import NeutrinoError
    from orchestrator.domain.pods import Check, PodSettings

    try:
        api, namespace = open_cluster(client.clusters.get(name).ref)
    except NeutrinoError as error:
        return (Check(name="reference", ok=False, detail=error.message, fix=error.hint),)
    target = PodTarget(namespace, "check", PodSettings(), image or "")
    return examine(api, Wanted(target, {"NEUTRINO_API_URL": client.url}, "", None), probe=image is not None)


def drain(name: Name) -> None:
    """Let all jobs of a cluster go on elsewhere."""
    with connect() as client:
        view = client.clusters.drain(name)
    note(f"{view.name} is draining. `neutrino cluster resume {view.name}` undoes that.")


def resume(name: Name) -> None:
    """Undo a drain."""
    with connect() as client:
        client.clusters.resume(name)
    note(f"{name} takes jobs again.")


def remove(name: Name) -> None:
    """Forget a cluster on which nothing runs."""
    with connect() as client:
        client.clusters.remove(name)
    note(f"{name} is forgotten.")

"""What a launcher is told from outside, and the place that its pool names: a cluster, opened."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cloud_adapters.cluster.access import open_cluster
from cloud_adapters.cluster.api import KubeApi
from cloud_adapters.cluster.check import Wanted, examine
from cloud_adapters.cluster.compute import KubernetesCompute, remove_jobs
from cloud_adapters.cluster.manifests import PodTarget
from cloud_adapters.compute import Compute
from cloud_adapters.compute_errors import ComputeError, ComputeUnavailable
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.pods import Check, Checked, ClusterKind, ClusterRef
from orchestrator.domain.protocol import Heartbeat, PodPool, RegisterWorker, WorkerRegistered
from orchestrator.version import VERSION
from workers.api import Api
from workers.flight import Launching
from workers.settings import Settings

log = logging.getLogger(__name__)

_QUIET_ROUNDS, _ROUND_SECONDS = 3, 2.0
_UNREACHED_SECONDS = 30.0
_BY_HAND = (
    "Their pods give up by themselves; docs/how-to/connect-a-cluster.md has the commands that remove what is left."
)
# All pods of a node share one account and so the kernel's count of its processes; what bounds a pod is its own cgroup.
_MOST_PROCESSES = "100000"
_TOLD = (
    "NEUTRINO_GRACE_SECONDS",
    "NEUTRINO_DRAIN_SECONDS",
    "NEUTRINO_MAX_PROCESSES",
    "NEUTRINO_LOG_LEVEL",
    "NEUTRINO_LOG_FORMAT",
)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a launcher's pods go, and how they are made; `check` looks at what the launcher may do there."""

    compute: Compute
    launching: Launching
    check: Callable[[], Checked]


def registration(settings: Settings) -> RegisterWorker:
    """How a launcher introduces itself: what its predecessor of the same name held goes on, and is its own."""
    return RegisterWorker(
        name=settings.name,
        pool=settings.pool,
        slots=settings.slots,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=VERSION,
        outlived=True,
    )


def settings_from(env: Mapping[str, str]) -> Settings:
    """The settings of a launcher. Its name stays the same over restarts and moves: it is how its pods are found again.
    Raises NeutrinoError naming the variable that is missing or wrong."""
    pool = env.get("NEUTRINO_POOL") or "local"
    fallback = {"NEUTRINO_WORKER_NAME": f"launcher-{pool}", "NEUTRINO_DATA_DIR": tempfile.gettempdir()}
    return Settings.from_env(fallback | {"NEUTRINO_SLOTS": "100"} | {name: text for name, text in env.items() if text})


def _target(pool: PodPool, name: str, namespace: str, env: Mapping[str, str]) -> PodTarget:
    settings = pool.settings
    image = settings.image or env.get("NEUTRINO_POD_IMAGE", "")
    if not image:
        raise NeutrinoError(
            f"Pool {name} has no image for jobs that name none.",
            hint="Set NEUTRINO_POD_IMAGE, or the image of the pool, to the worker image.",
        )
    account = settings.service_account or env.get("NEUTRINO_POD_SERVICE_ACCOUNT") or None
    return PodTarget(namespace, name, settings.model_copy(update={"service_account": account}), image)


def open_place(registered: WorkerRegistered, settings: Settings, env: Mapping[str, str]) -> Site:
    """Open the cluster of a launcher's pool. Raises the errors of `cloud_adapters.compute_errors`, and NeutrinoError
    for what is missing."""
    pool = registered.pods
    assert pool is not None
    api, namespace = open_cluster(pool.cluster)
    target = _target(pool, settings.pool, env.get("NEUTRINO_NAMESPACE") or namespace, env)
    told = {name: env[name] for name in _TOLD if env.get(name)}
    pods_env = {
        "NEUTRINO_MAX_PROCESSES": _MOST_PROCESSES,
        **pool.settings.env,
        **told,
        "NEUTRINO_API_URL": env.get("NEUTRINO_POD_API_URL") or settings.api_url,
    }
    wanted = Wanted(target, pods_env, registered.store, pool.gpu)
    return Site(
        compute=KubernetesCompute(api, target),
        launching=Launching(pods_env, settings.grace, settings.drain, pool.settings.patience),
        check=lambda: Checked(worker=registered.worker, checks=_look(api, wanted)),
    )


def _look(api: KubeApi, wanted: Wanted) -> tuple[Check, ...]:
    """What is found on the cluster. Whoever asked waits for an answer, even when the looking itself fails."""
    try:
        return examine(api, wanted)
    except Exception as error:
        log.exception("The check of the cluster failed.")
        fix = "Read the launcher's log; what it could not make sense of stands there."
        return (Check(name="check", ok=False, detail=f"The launcher could not look at it: {error!r}", fix=fix),)


def remove_all(settings: Settings, env: Mapping[str, str], *, leave_unreachable: bool = False) -> None:
    """Delete every Job of the pool, whatever it does, as before an uninstallation; returns when none is left and none
    comes after. The cluster is the pool's; without the API's answer it is that of $KUBECONFIG, or the one that this
    process runs in. With `leave_unreachable` a cluster that cannot be reached is only told of. Raises ComputeError."""
    pool = _drained(settings)
    own = ClusterRef(kind=ClusterKind.KUBECONFIG if env.get("KUBECONFIG") else ClusterKind.INCLUSTER)
    try:
        api, namespace = open_cluster(own if pool is None else pool.cluster)
        _remove(api, env.get("NEUTRINO_NAMESPACE") or namespace, settings.pool)
    except ComputeError as error:
        if not leave_unreachable:
            raise
        log.error("The Jobs of pool %s stay where they are. %s %s", settings.pool, error, _BY_HAND)


def _remove(api: KubeApi, namespace: str, pool: str) -> None:
    quiet, until = 0, time.monotonic() + _UNREACHED_SECONDS
    while quiet < _QUIET_ROUNDS:
        try:
            removed = remove_jobs(api, namespace, pool)
        except ComputeUnavailable:
            if time.monotonic() > until:
                raise
        else:
            log.info("Removed %d Jobs.", removed)
            quiet, until = (0 if removed else quiet + 1), time.monotonic() + _UNREACHED_SECONDS
        time.sleep(_ROUND_SECONDS)


def _drained(settings: Settings) -> PodPool | None:
    """Tell the launcher that is still there to make no more pods; returns what its pool is. Without an API there is no
    work for it either."""
    api = Api(settings.api_url, settings.token)
    try:
        registered = api.register(registration(settings))
        api.heartbeat(Heartbeat(worker=registered.worker, draining=True, launcher=True))
    except NeutrinoError as error:
        log.warning("The launcher could not be told: %s", error)
        return None
    return registered.pods

"""A whole Neutrino, a small Kubernetes, and a launcher between them as a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from unittest import mock

import pytest

from orchestrator.domain.pods import ClusterKind, CreateCluster, PodSettings
from orchestrator.domain.spec import Cloud
from orchestrator.domain.views import CreatePool, CreateToken
from orchestrator.embedded.stack import Stack
from orchestrator.sdk.client import Client
from tests.acceptance.site import Job, Site, until
from tests.conftest import NewStackFolder
from tests.kube.cluster import NAMESPACE, Cluster

_SETTINGS = {
    "NEUTRINO_LEASE_SECONDS": "9",
    "NEUTRINO_GRACE_SECONDS": "0.5",
    "NEUTRINO_DRAIN_SECONDS": "5",
    "NEUTRINO_MAX_PROCESSES": "128",
}


class Launcher:
    """The launcher of a pool; `start` again after `kill` is what Kubernetes does."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> None:
        command = [sys.executable, "-m", "workers.launcher"]
        self.process = subprocess.Popen(command, env=os.environ | self.env | env)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)


class Field(Site):
    """A stack whose pools are pods on a cluster."""

    def __init__(self, stack: Stack, client: Client, cluster: Cluster) -> None:
        super().__init__(stack, client)
        self.cluster = cluster
        self.launchers: list[Launcher] = []
        self.token = client.tokens.create(CreateToken(name="launcher", user="launcher", role="worker")).token

    def pool(self, name: str, **settings: object) -> str:
        gpu, cloud = settings.pop("gpu", None), Cloud(str(settings.pop("cloud", Cloud.LOCAL)))
        pods = PodSettings.model_validate({"memory": "512Mi", "shm": "64Mi", **settings})
        store = f"file://{self.stack.data_dir}/store"
        self.client.pools.create(CreatePool(name=name, store=store, cloud=cloud, cluster="double", pods=pods, gpu=gpu))
        return name

    def launcher(self, pool: str, slots: int = 8, **env: str) -> Launcher:
        made = Launcher(
            {
                "NEUTRINO_API_URL": self.stack.url,
                "NEUTRINO_TOKEN": self.token,
                "REDIS_URL": self.stack.redis_url,
                "NEUTRINO_POOL": pool,
                "NEUTRINO_SLOTS": str(slots),
                "NEUTRINO_POD_IMAGE": "registry.example.com/neutrino/worker:1",
                "KUBECONFIG": str(self.cluster.kubeconfig()),
            }
            | env
        )
        self.launchers.append(made)
        made.start()
        return made

    def pods(self, job: Job, epoch: int = 1) -> list[str]:
        """The names of a job's pods."""
        return [pod["metadata"]["name"] for pod in self.cluster.pods(job=f"{job.id}-{epoch}")]

    def recorded(self, job: Job, epoch: int = 1) -> bool:
        """Whether nothing holds a job's Job any more."""
        jobs = [one["metadata"] for one in self.cluster.objects.all("jobs", NAMESPACE)]
        return not any(one.get("finalizers") for one in jobs if one["name"] == f"{job.id}-{epoch}")

    def running_pod(self, job: Job, epoch: int = 1) -> str:
        return until(lambda: next((name for name in self.pods(job, epoch) if name in self.cluster.running), ""))


@pytest.fixture(scope="module")
def whole_field(
    new_stack_folder: NewStackFolder, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Field]:
    cluster = Cluster(tmp_path_factory.mktemp("kube"), {"NEUTRINO_FILE_ROOTS": "/"})
    try:
        with (
            mock.patch.dict("os.environ", _SETTINGS),
            Stack(new_stack_folder(f"kube-{request.path.stem}"), workers=0, schedulers=1) as stack,
            Client(stack.url, stack.admin_token) as client,
        ):
            client.clusters.add(CreateCluster(name="double", kind=ClusterKind.KUBECONFIG, namespace=NAMESPACE))
            field = Field(stack, client, cluster)
            yield field
            for launcher in field.launchers:
                if launcher.process is not None and launcher.process.poll() is None:
                    launcher.stop()
    finally:
        cluster.close()


@pytest.fixture
def field(whole_field: Field) -> Iterator[Field]:
    yield whole_field
    cluster = whole_field.cluster
    cluster.behaviour.missing_images.clear()
    cluster.behaviour.place = lambda _pod: ("node-1", "")
    cluster.behaviour.quota = ""
    cluster.faults.down = cluster.faults.hangs = False

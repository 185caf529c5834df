"""A bare release works: its pods, started at once as processes, wait for each other, and `helm test` passes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helm.chart import render
from tests.helm.processes import Node, Pod

VALUES = {"postgres": {"existingSecret": "database"}, "redis": {"existingSecret": "broker"}, "pools": {"pods": None}}
SECONDS = 90


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not so within {SECONDS} s"
        time.sleep(0.05)


@pytest.fixture
def node(empty_database_url: str, redis_url: str, tmp_path: Path) -> Node:
    secrets = {
        "database": {"url": empty_database_url.replace("+psycopg", "", 1)},
        "broker": {"url": redis_url},
    }
    return Node(render(VALUES), tmp_path, secrets)


@pytest.fixture
def pods(node: Node) -> Iterator[dict[str, Pod]]:
    names = ("Deployment/neutrino-worker-local", "Deployment/neutrino-scheduler", "Deployment/neutrino-api")
    pods = {name.rpartition("-")[2]: node.pod(name) for name in (*names, "Job/neutrino-migrate")}
    yield pods
    for pod in pods.values():
        pod.stop(signal.SIGKILL)
        if pod.ident is not None:
            pod.join(SECONDS)


def test_pods_that_start_at_once_find_together(node: Node, pods: dict[str, Pod], tmp_path: Path) -> None:
    for name in ("local", "scheduler", "api"):
        pods[name].start()
    pods["migrate"].start()
    pods["migrate"].join(SECONDS)
    assert pods["migrate"].codes == {"wait-for-database": 0, "migrate": 0, "bootstrap": 0}

    test = node.pod("Pod/neutrino-test")
    _until(lambda: pods["local"].codes.get("wait-for-api") == 0)
    test.start()
    test.join(SECONDS)
    logs = {path.name: path.read_text() for path in tmp_path.glob("*.log")}
    assert test.codes == {"test": 0}, logs
    assert "succeeded in pool local" in logs["neutrino-test.test.log"]

    for name in ("local", "scheduler"):
        assert node.probe(pods[name], "livenessProbe")
    for name in ("local", "scheduler", "api"):
        pods[name].stop()
        pods[name].join(SECONDS)
        assert pods[name].codes[{"local": "worker"}.get(name, name)] in {0, -signal.SIGTERM}, logs
    assert not [name for name, text in logs.items() if "Traceback" in text]
    secrets = [value for value in node.environment("any", {"env": _SECRETS}).values() if value.startswith("nu_")]
    assert len(secrets) == 2
    assert not [name for name, text in logs.items() if any(secret in text for secret in secrets)]


_SECRETS = [
    {"name": key, "valueFrom": {"secretKeyRef": {"name": "neutrino-auth", "key": key}}}
    for key in ("admin-token", "worker-token")
]

"""The release on a real cluster: the one that KUBECONFIG names. It gets a namespace of its own, which goes afterwards.

The images must be on the nodes or in a registry; NEUTRINO_TEST_VALUES names a file of values that says where.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from kubernetes import client, config

from tests.helm.chart import CHART, NAME

pytestmark = [
    pytest.mark.skipif(not os.environ.get("KUBECONFIG"), reason="KUBECONFIG names no cluster"),
    pytest.mark.timeout(1800),
]
PATIENCE_SECONDS = 600


@pytest.fixture
def values() -> dict[str, Any]:
    named = os.environ.get("NEUTRINO_TEST_VALUES")
    return yaml.safe_load(Path(named).read_text("utf-8")) if named else {}


@pytest.fixture
def core() -> client.CoreV1Api:
    config.load_kube_config()
    return client.CoreV1Api()


@pytest.fixture
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    name = f"neutrino-test-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name, labels=labels)))
    yield name
    core.delete_namespace(name)


def _password(core: client.CoreV1Api, namespace: str) -> dict[str, str]:
    data: dict[str, str] = core.read_namespaced_secret(f"{NAME}-postgres", namespace).data
    return data


def test_install_test_upgrade_and_uninstall(core: client.CoreV1Api, namespace: str, values: dict[str, Any]) -> None:
    helm = helm_python.Config(kubeconfig_path=os.environ["KUBECONFIG"], namespace=namespace)
    chart = helm_python.Chart.load(CHART)
    helm.install(chart, NAME, values, namespace=namespace, wait="watcher", timeout=PATIENCE_SECONDS)
    helm.test(NAME, timeout=PATIENCE_SECONDS, logs=True)
    before = _password(core, namespace)

    changed = values | {"logLevel": "DEBUG"}
    helm.upgrade(chart, NAME, changed, namespace=namespace, wait="watcher", timeout=PATIENCE_SECONDS)
    assert _password(core, namespace) == before
    helm.test(NAME, timeout=PATIENCE_SECONDS, logs=True)

    helm.uninstall(NAME, wait="watcher", timeout=PATIENCE_SECONDS)
    ours = f"app.kubernetes.io/instance={NAME}"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := core.list_namespaced_pod(namespace, label_selector=ours).items:  # workers drain
        assert time.monotonic() < deadline, [pod.metadata.name for pod in left]
        time.sleep(1)
    assert _password(core, namespace) == before
    assert core.list_namespaced_persistent_volume_claim(namespace, label_selector=ours).items

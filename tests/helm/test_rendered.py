"""Facts about everything that the chart renders, over a matrix of values."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest

from orchestrator.api.app import create_app
from orchestrator.store.session import Database
from tests.helm import restricted
from tests.helm.chart import CHART, GIVEN_CLAIMS, GIVEN_SECRETS, MATRIX, NAMESPACE, Release, containers, rendered

KUBERNETES = "1.36"
# Kinds that are no part of Kubernetes; their fields are looked at in the tests that name them.
FOREIGN = {
    "HTTPRoute",
    "PodMonitor",
    "PrometheusRule",
    "ScaledObject",
    "ServiceMonitor",
    "TriggerAuthentication",
}
ROOT = CHART.parents[1]


@pytest.fixture(params=MATRIX)
def release(request: pytest.FixtureRequest) -> Release:
    return rendered(request.param)


@pytest.mark.parametrize("case", MATRIX)
def test_lint_finds_nothing(case: str) -> None:
    found = helm_python.lint(CHART, MATRIX[case], strict=True, namespace=NAMESPACE)
    assert [one for one in found["messages"] if one["error"] != "icon is recommended"] == []


def test_every_object_fits_the_schema_of_kubernetes(release: Release) -> None:
    for one in release.objects:
        if one["kind"] not in FOREIGN:
            _validate(json.dumps(one, sort_keys=True))


@cache
def _validate(document: str) -> None:
    """Once for each document: most are the same in several cases, and the check is slow."""
    kubernetes_validate.validate(json.loads(document), KUBERNETES, strict=True)


def test_nothing_foreign_is_in_a_bare_release() -> None:
    assert not FOREIGN & {one["kind"] for one in rendered("bare").objects}


def test_every_pod_passes_the_restricted_standard(release: Release) -> None:
    assert {where: faults for where, pod in release.pods() if (faults := restricted.faults(pod))} == {}


def test_the_standard_is_looked_at() -> None:
    pod = {"spec": {"hostPID": True, "volumes": [{"name": "h", "hostPath": {}}], "containers": [{"name": "c"}]}}
    assert len(restricted.faults(pod)) == 7


def test_objects_have_names_of_their_own_and_a_namespace(release: Release) -> None:
    names = Counter((one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in release.objects)
    assert [name for name, count in names.items() if count > 1] == []
    assert all(len(one["metadata"]["name"]) <= 63 for one in release.objects)
    everywhere = {"Namespace", "ClusterRole", "ClusterRoleBinding"}
    ours = [one for one in release.objects if one["kind"] not in everywhere and "part-of" in str(one["metadata"])]
    assert all(one["metadata"]["namespace"] in {NAMESPACE, "ml-jobs"} for one in ours)


def test_every_variable_is_set_once_and_read_by_somebody(release: Release) -> None:
    known = _variables()
    for where, pod in release.pods():
        for container in containers(pod):
            names = [one["name"] for one in container.get("env", ())]
            assert len(names) == len(set(names)), where
            if "neutrino-" in container["image"]:
                assert {name for name in names if name.startswith("NEUTRINO_")} <= known, where


@cache
def _variables() -> frozenset[str]:
    """The names of variables that our code mentions."""
    code = [
        path
        for name in ("orchestrator", "workers", "cloud_adapters", "migrations")
        for path in (ROOT / name).rglob("*.py")
    ]
    return frozenset(name for path in code for name in re.findall(r"NEUTRINO_[A-Z_]+", path.read_text("utf-8")))


def test_every_module_that_a_pod_runs_is_there(release: Release) -> None:
    commands = [
        container["command"] for _, pod in release.pods() for container in containers(pod) if "command" in container
    ]
    modules = {command[2] for command in commands if command[:2] == ["python", "-m"]}
    assert {"migrations", "orchestrator.api", "orchestrator.scheduler"} <= modules
    assert [module for module in modules if find_spec(module) is None] == []


def test_everything_that_is_referred_to_exists(release: Release) -> None:
    secrets = {one["metadata"]["name"] for one in release.of("Secret")} | GIVEN_SECRETS
    maps = {one["metadata"]["name"] for one in release.of("ConfigMap")}
    claims = {one["metadata"]["name"] for one in release.of("PersistentVolumeClaim")} | GIVEN_CLAIMS
    accounts = {one["metadata"]["name"] for one in release.of("ServiceAccount")}
    for where, pod in release.pods():
        used = _references(pod["spec"])
        assert used["secret"] <= secrets, where
        assert used["configMap"] <= maps, where
        assert used["claim"] <= claims, where
        assert {pod["spec"].get("serviceAccountName", "default")} <= accounts | {"default"}, where
        volumes = {one["name"] for one in pod["spec"].get("volumes", ())} | {"data"}
        mounts = {one["name"] for container in containers(pod) for one in container.get("volumeMounts", ())}
        assert mounts <= volumes, where


def _references(node: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"secret": set(), "configMap": set(), "claim": set()}

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in {"secretKeyRef", "secretRef", "secret"}:
                    found["secret"].add(value.get("name") or value.get("secretName"))
                elif key == "configMap":
                    found["configMap"].add(value["name"])
                elif key == "persistentVolumeClaim":
                    found["claim"].add(value["claimName"])
                elif key == "imagePullSecrets":
                    found["secret"].update(one["name"] for one in value)
                walk(value)
        elif isinstance(node, list):
            for one in node:
                walk(one)

    walk(node)
    return found


def test_every_key_of_a_secret_of_ours_exists(release: Release) -> None:
    keys = {one["metadata"]["name"]: set(one["stringData"]) for one in release.of("Secret")}
    for where, pod in release.pods():
        for container in containers(pod):
            for variable in container.get("env", ()):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference and reference["name"] in keys:
                    assert reference["key"] in keys[reference["name"]], f"{where} {variable['name']}"


def test_selectors_select_what_they_are_meant_for(release: Release) -> None:
    labels = {where: pod["metadata"].get("labels", {}) for where, pod in release.pods()}
    for one in release.of("Deployment", "StatefulSet"):
        selector = one["spec"]["selector"]["matchLabels"]
        chosen = [where for where, had in labels.items() if selector.items() <= had.items()]
        assert chosen == [f"{one['kind']}/{one['metadata']['name']}"]
    for one in release.of("Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
        selector = one["spec"].get("selector", one["spec"].get("podSelector"))
        selector = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
        chosen = [where for where, had in labels.items() if selector.items() <= had.items()]
        assert chosen, one["metadata"]["name"]


def test_the_ports_of_services_are_ports_of_their_pods(release: Release) -> None:
    for service in release.of("Service"):
        selector = service["spec"]["selector"].items()
        pods = [pod for _, pod in release.pods() if selector <= pod["metadata"].get("labels", {}).items()]
        named = {port["name"] for pod in pods for container in containers(pod) for port in container.get("ports", ())}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


def test_what_scales_has_no_fixed_number_and_is_there() -> None:
    release = rendered("everything")
    for one in release.of("HorizontalPodAutoscaler", "ScaledObject"):
        assert "replicas" not in release.one("Deployment", one["spec"]["scaleTargetRef"]["name"])["spec"]
    (trigger,) = release.one("ScaledObject", "neutrino-worker-local")["spec"]["triggers"]
    assert release.one("TriggerAuthentication", trigger["authenticationRef"]["name"])


def test_probes_ask_for_routes_that_the_api_has(release: Release) -> None:
    asked = {
        container[probe]["httpGet"]["path"]
        for _, pod in release.pods()
        for container in containers(pod)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if "httpGet" in container.get(probe, {})
    }
    scraped = {end["path"] for one in release.of("ServiceMonitor") for end in one["spec"]["endpoints"]}
    assert {"/healthz", "/readyz"} <= asked
    assert asked | scraped <= _routes()


@cache
def _routes() -> frozenset[str]:
    return frozenset(create_app(Database("postgresql://nobody@nowhere/nothing")).openapi()["paths"])


def test_every_container_says_what_it_needs(release: Release) -> None:
    for where, pod in release.pods():
        for container in containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), where
            assert "memory" in resources["limits"], where


def test_only_launchers_may_use_the_api_of_the_cluster(release: Release) -> None:
    with_token = {where for where, pod in release.pods() if pod["spec"]["automountServiceAccountToken"]}
    assert all(re.match(r"Deployment/.*-launcher-|Job/.*-remove-", where) for where in with_token)
    assert all(account["automountServiceAccountToken"] is False for account in release.of("ServiceAccount"))
    bound = [subject["name"] for one in release.of("RoleBinding", "ClusterRoleBinding") for subject in one["subjects"]]
    assert all(name.endswith("-launcher") for name in bound)
    for role in release.of("ClusterRole"):
        assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
        assert role["metadata"]["name"].startswith(f"{NAMESPACE}-")
    for role in release.of("Role"):
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            if "secrets" in rule["resources"]:
                assert not {"get", "list", "watch"} & set(rule["verbs"])


def test_no_secret_stands_in_a_pod(release: Release) -> None:
    values = {value for one in release.of("Secret") for value in one["stringData"].values() if len(value) >= 32}
    text = str([pod for _, pod in release.pods()]) + str(release.of("ConfigMap")) + release.notes
    assert [value for value in values if value in text] == []


def test_workers_have_no_way_to_the_database(release: Release) -> None:
    for where, pod in release.pods():
        if pod["metadata"].get("labels", {}).get("app.kubernetes.io/component") in {"worker", "launcher", "remover"}:
            names = {one["name"] for container in containers(pod) for one in container["env"]}
            assert "DATABASE_URL" not in names, where
    for policy in release.of("NetworkPolicy"):
        if policy["metadata"]["name"].endswith(("-worker", "-launcher", "-job")):
            assert "postgres" not in str(policy["spec"]["egress"])


def test_a_dockerfile_builds_the_images_that_are_named() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", Path(ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    images = {container["image"] for _, pod in rendered("bare").pods() for container in containers(pod)}
    ours = {image for image in images if image.startswith("localhost/")}
    assert {re.sub(r"localhost/neutrino-(.*):.*", r"\1", image) for image in ours} <= set(stages)


def test_workers_are_not_probed_by_commands(release: Release) -> None:
    """A command would run with the worker's credentials in its environment, where the jobs of the same account look."""
    for name, pod in release.pods():
        if "worker" in name:
            for container in containers(pod):
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    assert "exec" not in container.get(probe, {}), name

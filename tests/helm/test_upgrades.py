"""What an upgrade keeps and what it renews."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import helm_python

from tests.helm.chart import CHART, NAME, NAMESPACE, Release, containers, read, render, rendered

_V1 = {
    "kind": "APIResourceList",
    "groupVersion": "v1",
    "resources": [
        {"name": "secrets", "kind": "Secret", "namespaced": True, "verbs": ["get"], "singularName": "secret"}
    ],
}


@contextmanager
def _cluster(secrets: dict[str, dict[str, str]]) -> Iterator[str]:
    """As much of an API server as the chart's `lookup` of Secrets needs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            name = path.rpartition("/")[2]
            if path == "/api/v1":
                self._answer(200, _V1)
            elif path.startswith(f"/api/v1/namespaces/{NAMESPACE}/secrets/") and name in secrets:
                data = {key: base64.b64encode(value.encode()).decode() for key, value in secrets[name].items()}
                metadata = {"name": name, "namespace": NAMESPACE}
                self._answer(200, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
            else:
                status = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
                self._answer(404, status)

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _on(cluster: str, revision: int) -> Release:
    config = helm_python.Config(kube_apiserver=cluster, namespace=NAMESPACE)
    chart = helm_python.Chart.load(CHART)
    return read(config.render(chart, name=NAME, namespace=NAMESPACE, revision=revision))


def _secrets(release: Release) -> dict[str, dict[str, str]]:
    return {one["metadata"]["name"]: one["stringData"] for one in release.of("Secret")}


def _migration(release: Release) -> str:
    (name,) = [one["metadata"]["name"] for one in release.of("Job") if "migrate" in one["metadata"]["name"]]
    return str(name)


def test_secrets_are_made_once_and_kept() -> None:
    with _cluster({}) as empty:
        first = _secrets(_on(empty, 1))
    with _cluster(first) as filled:
        assert _secrets(_on(filled, 2)) == first
    lost = {name: values for name, values in first.items() if name != "neutrino-auth"}
    with _cluster(lost) as half:
        again = _secrets(_on(half, 3))
    assert again["neutrino-postgres"] == first["neutrino-postgres"]
    assert again["neutrino-auth"]["admin-token"] != first["neutrino-auth"]["admin-token"]


def test_secrets_are_long_random_and_fit_into_an_address() -> None:
    one, other = _secrets(rendered("bare")), _secrets(render({}))
    assert set(one) == {"neutrino-auth", "neutrino-postgres", "neutrino-redis"}
    for name, values in one.items():
        assert not set(values.values()) & set(other[name].values())
    assert re.fullmatch(r"nu_[A-Za-z0-9]{40}", one["neutrino-auth"]["admin-token"])
    assert re.fullmatch(
        r"postgresql://neutrino:[A-Za-z0-9]{32}@neutrino-postgres\.ml\.svc:5432/neutrino",
        one["neutrino-postgres"]["url"],
    )
    assert one["neutrino-postgres"]["password"] in one["neutrino-postgres"]["url"]
    assert one["neutrino-redis"]["auth.conf"] == f"requirepass {one['neutrino-redis']['password']}"


def test_named_secrets_are_used_and_none_is_made() -> None:
    values = {"auth": {"existingSecret": "a"}, "postgres": {"existingSecret": "p"}, "redis": {"existingSecret": "r"}}
    release = render(values)
    assert release.of("Secret", "StatefulSet") == []
    names = {
        variable["valueFrom"]["secretKeyRef"]["name"]
        for _, pod in release.pods()
        for container in containers(pod)
        for variable in container["env"]
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    assert names == {"a", "p", "r"}


def test_the_migration_runs_again_with_every_revision_and_every_change() -> None:
    plain = _migration(rendered("bare"))
    assert plain != _migration(render({}, revision=2))
    assert plain != _migration(render({"images": {"controlPlane": {"tag": "0.2.0"}}}))
    assert plain != _migration(render({"pools": {"local": {"kind": "workers", "region": "here"}}}))


def test_what_is_no_hook() -> None:
    release = rendered("bare")
    hooks = {
        one["metadata"]["name"]: one["metadata"]["annotations"]["helm.sh/hook"]
        for one in release.objects
        if "helm.sh/hook" in one["metadata"].get("annotations", {})
    }
    assert hooks == {"neutrino-remove-pods": "pre-delete", "neutrino-test": "test"}


def test_before_a_release_goes_its_jobs_go_from_every_cluster() -> None:
    commands = {
        one["metadata"]["name"].removeprefix("neutrino-remove-"): one["spec"]["template"]["spec"]["containers"][0]
        for one in rendered("everything").objects
        if one["metadata"].get("annotations", {}).get("helm.sh/hook") == "pre-delete"
    }
    assert {name for name, one in commands.items() if "--leave-unreachable" in one["command"]} == {"far", "own"}
    assert "a100" in commands
    assert "/etc/neutrino/clusters/own" in [one["mountPath"] for one in commands["own"]["volumeMounts"]]


def test_what_is_left_behind() -> None:
    release = rendered("bare")
    kept = {
        (one["kind"], one["metadata"]["name"])
        for one in release.objects
        if one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert kept == {("PersistentVolumeClaim", "neutrino-store"), ("Secret", "neutrino-postgres")}


def test_pods_that_need_the_schema_wait_for_it_and_the_migration_waits_for_nobody_that_waits() -> None:
    release = rendered("bare")
    for name in ("neutrino-api", "neutrino-scheduler"):
        first = release.one("Deployment", name)["spec"]["template"]["spec"]["initContainers"][0]
        assert first["command"][:5] == ["python", "-m", "migrations", "--wait-for", "schema"]
    (job,) = [one for one in release.of("Job") if one["metadata"]["name"] == _migration(release)]
    commands = [container["command"] for container in containers(job["spec"]["template"])]
    assert [command[2:5] for command in commands] == [
        ["migrations", "--wait-for", "database"],
        ["migrations"],
        ["orchestrator.bootstrap"],
    ]

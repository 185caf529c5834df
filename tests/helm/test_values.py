"""What may be said in values, and how nonsense is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import helm_python
import jsonschema  # type: ignore[import-untyped]  # ships no types
import kubernetes_validate
import pytest
import yaml

from cloud_adapters.cluster import manifests, presets
from cloud_adapters.compute import Work
from orchestrator.domain.pods import CreateCluster, PodSettings
from orchestrator.domain.views import CreatePool
from tests.helm import restricted
from tests.helm.chart import CHART, MATRIX, NAMESPACE, containers, render, rendered

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text("utf-8"))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from _schemas(child)
    elif isinstance(node, list):
        for child in node:
            yield from _schemas(child)


def test_the_schema_is_one_and_refuses_what_it_does_not_name() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    named = [
        one for one in _schemas(SCHEMA) if one.get("type") == "object" and one.get("properties") and "then" not in one
    ]
    assert len(named) > 40
    assert [one for one in named if one.get("additionalProperties") is not False] == []


def test_every_value_of_the_schema_has_a_default_that_is_written_down() -> None:
    def missing(schema: dict[str, Any], values: Any, path: str) -> Iterator[str]:
        for name, child in schema.get("properties", {}).items():
            if name not in values:
                yield f"{path}.{name}"
            elif isinstance(values[name], dict):
                yield from missing(child, values[name], f"{path}.{name}")

    of_pools = "cloud|region|gpu|store|spot|usdPerHour|extraEnv|nodeSelector|tolerations|affinity"
    optional = rf"\.global$|\.poolDefaults\.\w+\.({of_pools})$"
    found = [path for path in missing(SCHEMA, VALUES, "") if not re.match(optional, path)]
    assert found == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"api": {"replica": 3}}, "'/api': additional properties 'replica' not allowed"),
        ({"scheduler": {"replicas": 0}}, "'/scheduler/replicas'"),
        ({"pools": {"x": {"kind": "worker"}}}, "'/pools/x/kind': value must be one of 'workers', 'pods'"),
        ({"pools": {"x": {}}}, "missing property 'kind'"),
        ({"pools": {"X_1": {"kind": "workers"}}}, "X_1"),
        ({"pools": {"x": {"kind": "workers", "gpus": "A100"}}}, "additional properties 'gpus' not allowed"),
        ({"pools": {"x": {"kind": "workers", "gpu": "8xA100"}}}, "'/pools/x/gpu'"),
        ({"pools": {"x": {"kind": "pods", "replicas": 2}}}, "additional properties 'replicas' not allowed"),
        ({"pools": {"x": {"kind": "pods", "pods": {"privileged": True}}}}, "additional properties 'privileged'"),
        ({"pools": {"x": {"kind": "workers", "resources": {"limit": {}}}}}, "additional properties 'limit'"),
        ({"store": {"uri": "file:///data"}}, "'/store/uri'"),
        ({"extraEnv": {"A": "b"}}, "'/extraEnv': got object, want array"),
        ({"extraEnv": [{"name": "A", "value": 1}]}, "'/extraEnv/0/value': got number, want string"),
        ({"identity": {"aws": {"roleArn": "neutrino"}}}, "'/identity/aws/roleArn'"),
        ({"images": {"worker": {"digest": "latest"}}}, "'/images/worker/digest'"),
        ({"clusters": {"x": {"kind": "eks"}}}, "missing properties 'cluster', 'region'"),
        ({"clusters": {"x": {"kind": "kubeconfig"}}}, "missing property 'existingSecret'"),
        ({"clusters": {"in-cluster": {"kind": "kubeconfig", "existingSecret": "x"}}}, "in-cluster"),
        ({"podSecurityContext": {}}, "additional properties 'podSecurityContext' not allowed"),
    ],
)
def test_the_schema_names_what_is_wrong(values: dict[str, Any], words: str) -> None:
    with pytest.raises(helm_python.HelmValuesError) as refused:
        render(values)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"jobs": {"namespace": "far"}}, "Name an object store with store.uri"),
        ({"jobs": {"createNamespace": True}}, "Name it with jobs.namespace"),
        ({"ingress": {"enabled": True}}, "name at least one host"),
        ({"httpRoute": {"enabled": True}}, "name the Gateway"),
        ({"store": {"existingSecret": "keys"}}, "Name it with store.uri"),
        ({"pools": {"x": {"kind": "workers", "cloud": "gcp", "gpu": "A10G:1"}}}, "pools.x.nodeSelector"),
        ({"pools": {"x": {"kind": "pods", "cluster": "far"}}}, "pools.x.apiUrl"),
    ],
)
def test_what_the_schema_cannot_see_is_refused_with_what_to_do(values: dict[str, Any], words: str) -> None:
    with pytest.raises(helm_python.HelmRenderError) as refused:
        render(values)
    assert words in str(refused.value)


def test_no_proxy_is_believed_unless_it_is_named() -> None:
    def believed(values: dict[str, Any]) -> set[str]:
        api = next(pod for where, pod in render(values).pods() if where.endswith("-api"))
        return {one["value"] for each in containers(api) for one in each["env"] if one["name"] == "FORWARDED_ALLOW_IPS"}

    assert believed({}) == {""}
    assert believed({"api": {"trustedProxies": ["192.0.2.7", "2001:db8::/64"]}}) == {"192.0.2.7,2001:db8::/64"}
    assert "api.trustedProxies" in rendered("everything").notes
    assert "api.trustedProxies" not in rendered("bare").notes


def test_the_settings_of_pods_are_those_of_the_api() -> None:
    known = {field.alias or name for name, field in PodSettings.model_fields.items()}
    assert set(SCHEMA["$defs"]["pods"]["properties"]["pods"]["properties"]) == known


def test_launchers_of_other_clusters_have_their_way_to_it_and_nothing_of_this_one() -> None:
    release = rendered("everything")
    (job,) = [one for one in release.of("Job") if "migrate" in one["metadata"]["name"]]
    (bootstrap,) = job["spec"]["template"]["spec"]["containers"]
    (listed,) = [one["value"] for one in bootstrap["env"] if one["name"] == "NEUTRINO_CLUSTERS"]
    clusters = {one["name"]: CreateCluster.model_validate(one) for one in json.loads(listed)}
    assert clusters["europe"].region == "europe-west4"

    spec = release.one("Deployment", "neutrino-launcher-own")["spec"]["template"]["spec"]
    (launcher,) = spec["containers"]
    (mount,) = [one for one in launcher["volumeMounts"] if one["name"] == "cluster"]
    assert clusters["own"].kubeconfig == f"{mount['mountPath']}/kubeconfig"
    assert spec["automountServiceAccountToken"] is False
    env = {one["name"]: one.get("value") for one in launcher["env"]}
    assert not {"NEUTRINO_NAMESPACE", "NEUTRINO_POD_SERVICE_ACCOUNT"} & env.keys()
    assert env["NEUTRINO_POD_API_URL"] == "https://neutrino.example.com"


def test_the_schema_knows_clusters_as_the_api_does() -> None:
    known = {field.alias or name for name, field in CreateCluster.model_fields.items()}
    ours = set(SCHEMA["$defs"]["cluster"]["properties"])
    assert ours - {"existingSecret"} == known - {"name", "kubeconfig"}


@pytest.mark.parametrize("case", MATRIX)
def test_bootstrap_understands_the_pools(case: str) -> None:
    (job,) = [one for one in rendered(case).of("Job") if "migrate" in one["metadata"]["name"]]
    (bootstrap,) = job["spec"]["template"]["spec"]["containers"]
    (listed,) = [one["value"] for one in bootstrap["env"] if one["name"] == "NEUTRINO_POOLS"]
    pools = [CreatePool.model_validate(pool) for pool in json.loads(listed)]
    wanted = VALUES["pools"] | MATRIX[case].get("pools", {})
    assert {pool.name for pool in pools} == {name for name, pool in wanted.items() if pool}
    assert all((pool.cluster is None) == (wanted[pool.name]["kind"] == "workers") for pool in pools)
    spot = {name for name, pool in wanted.items() if pool and (pool.get("spot") or pool.get("pods", {}).get("spot"))}
    assert {pool.name for pool in pools if pool.spot or (pool.pods and pool.pods.spot)} == spot
    assert {pool.name: pool.usd_per_hour for pool in pools if pool.usd_per_hour} == {
        name: pool["usdPerHour"] for name, pool in wanted.items() if pool and pool.get("usdPerHour")
    }


def test_presets_are_those_of_the_launcher() -> None:
    assert (CHART / "files/presets.json").read_bytes() == (
        CHART.parents[1] / "cloud_adapters/cluster/presets.json"
    ).read_bytes()


@pytest.mark.parametrize(("cloud", "preset"), [("aws", "eks"), ("gcp", "gke"), ("azure", "aks"), ("local", "generic")])
def test_workers_go_where_the_launcher_would_send_pods(cloud: str, preset: str) -> None:
    kinds = list(presets.presets()[preset]["gpus"]) or ["L4"]
    wanted = {f"w{number}": (kind, number % 2 == 0) for number, kind in enumerate(kinds)}
    pools = {
        name: {"kind": "workers", "cloud": cloud, "gpu": f"{kind}:2", "spot": spot}
        for name, (kind, spot) in wanted.items()
    }
    release = render({"pools": pools, "store": {"uri": "s3://bucket"}})
    for name, (kind, spot) in wanted.items():
        pod = release.one("Deployment", f"neutrino-worker-{name}")["spec"]["template"]
        settings = PodSettings(preset=preset, spot=spot)
        affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
        terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
        theirs = presets.node_terms(settings, kind)
        assert sorted(map(str, terms)) == sorted(map(_sorted, theirs))
        assert pod["spec"].get("tolerations", []) == presets.tolerations(settings, kind)
        (container,) = pod["spec"]["containers"]
        assert container["resources"]["limits"][presets.gpu_resource(kind)] == "2"


def _sorted(term: dict[str, Any]) -> str:
    order = ("key", "operator", "values")
    return str({"matchExpressions": [{name: one[name] for name in order} for one in term["matchExpressions"]]})


def _pods(case: str) -> list[PodSettings]:
    (job,) = [one for one in rendered(case).of("Job") if "migrate" in one["metadata"]["name"]]
    (bootstrap,) = job["spec"]["template"]["spec"]["containers"]
    (listed,) = [one["value"] for one in bootstrap["env"] if one["name"] == "NEUTRINO_POOLS"]
    return [pool.pods for one in json.loads(listed) if (pool := CreatePool.model_validate(one)).pods]


def test_the_pods_of_jobs_reach_the_store() -> None:
    (bare,) = _pods("bare")
    work = Work("j-1-1", ("python",), {}, "token")
    job = manifests.job(work, manifests.PodTarget(NAMESPACE, "pods", bare, "worker"))
    pod = job["spec"]["template"]
    kubernetes_validate.validate(job, "1.36", strict=True)
    assert restricted.faults(pod) == []
    api = rendered("bare").one("Deployment", "neutrino-api")["spec"]["template"]
    mounted = [
        (claim["persistentVolumeClaim"]["claimName"], mount["mountPath"], one["spec"]["affinity"]["podAffinity"])
        for one in (api, pod)
        for claim in one["spec"]["volumes"]
        for mount in one["spec"]["containers"][0]["volumeMounts"]
        if claim["name"] == mount["name"] == "store"
    ]
    assert len(mounted) == 2
    assert mounted[0] == mounted[1]
    near = mounted[0][2]["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"]["matchLabels"]
    assert near.items() <= pod["metadata"]["labels"].items()
    assert near.items() <= api["metadata"]["labels"].items()
    (outside,) = _pods("external")
    assert (outside.store_claim, outside.store_secret, outside.beside) == (None, "keys", {})
    (azure,) = _pods("aks")
    assert azure.labels == {"azure.workload.identity/use": "true"}


def test_variables_merge_and_the_nearest_wins() -> None:
    release = rendered("everything")

    def value(deployment: str, name: str) -> str:
        pod = release.one("Deployment", deployment)["spec"]["template"]
        return str(next(one["value"] for one in containers(pod)[-1]["env"] if one["name"] == name))

    assert value("neutrino-api", "HTTPS_PROXY") == "http://other:3128"
    assert value("neutrino-scheduler", "HTTPS_PROXY") == "http://proxy:3128"
    assert value("neutrino-scheduler", "NEUTRINO_LOG_LEVEL") == "DEBUG"
    assert value("neutrino-worker-local", "NEUTRINO_SLOTS") == "9"
    assert value("neutrino-worker-l4", "NEUTRINO_SLOTS") == "1"
    assert value("neutrino-api", "NEUTRINO_PUBLIC_URL") == "https://neutrino.example.com"


def test_one_volume_means_one_node_and_no_budget_that_would_hold_it() -> None:
    pinned = {where for where, pod in rendered("bare").pods() if "podAffinity" in pod["spec"].get("affinity", {})}
    assert pinned == {f"Deployment/neutrino-{name}" for name in ("api", "scheduler", "worker-local")}
    assert rendered("bare").of("PodDisruptionBudget") == []
    for case in ("shared-volume", "external"):
        assert not any("podAffinity" in pod["spec"].get("affinity", {}) for _, pod in rendered(case).pods())
        assert len(rendered(case).of("PodDisruptionBudget")) == 3


def test_identities_are_written_where_each_cloud_looks() -> None:
    accounts = {case: rendered(case).one("ServiceAccount", "neutrino-worker") for case in ("eks", "gke", "aks")}
    assert "eks.amazonaws.com/role-arn" in accounts["eks"]["metadata"]["annotations"]
    assert "iam.gke.io/gcp-service-account" in accounts["gke"]["metadata"]["annotations"]
    assert "azure.workload.identity/client-id" in accounts["aks"]["metadata"]["annotations"]
    worker = rendered("aks").one("Deployment", "neutrino-worker-local")["spec"]["template"]["metadata"]
    assert worker["labels"]["azure.workload.identity/use"] == "true"
    assert "annotations" not in rendered("bare").one("ServiceAccount", "neutrino-worker")["metadata"]


def test_the_notes_end_in_three_commands_that_name_what_is_there() -> None:
    release = rendered("bare")
    commands = [line.strip() for line in release.notes.splitlines() if line.startswith("  ")]
    assert [re.findall(r"port-forward|neutrino login|neutrino run", line) for line in commands] == [
        ["port-forward"],
        ["neutrino login"],
        ["neutrino run"],
    ]
    assert release.one("Deployment", "neutrino-api")
    assert "admin-token" in release.one("Secret", "neutrino-auth")["stringData"]
    assert "-n ml get secret neutrino-auth" in release.notes
    assert "no backup" not in rendered("external").notes
    assert "jobs.namespace" in rendered("eks").notes
    assert "jobs.namespace" not in rendered("bare").notes + rendered("external").notes

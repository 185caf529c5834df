"""What is made for Kubernetes, what its answers mean, and how clusters are found."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from azure.core.exceptions import ServiceRequestError
from google.auth.exceptions import TransportError
from kubernetes.client import ApiClient, Configuration

from cloud_adapters.access import Renewed
from cloud_adapters.cluster import fixes, manifests
from cloud_adapters.cluster.access import open_cluster
from cloud_adapters.cluster.api import KubeApi
from cloud_adapters.cluster.capacity import offers
from cloud_adapters.cluster.informer import Informer
from cloud_adapters.cluster.manifests import PodTarget
from cloud_adapters.cluster.presets import presets
from cloud_adapters.cluster.reading import piece
from cloud_adapters.compute import Phase, Piece, Status, Work
from cloud_adapters.compute_errors import BadReference, ComputeDenied, ComputeError, ComputeUnavailable, WorkRefused
from cloud_adapters.compute_testing import until
from cloud_adapters.providers import aks, eks, gke
from orchestrator.domain.errors import InvalidSpec
from orchestrator.domain.gpus import KNOWN
from orchestrator.domain.pods import ClusterKind, ClusterRef, CreateCluster, PodSettings, Toleration
from orchestrator.domain.quantities import Gpu
from orchestrator.domain.state import Reason
from tests.kube.admission import admit
from workers.nodes import Nodes


def spot(**settings: Any) -> PodTarget:
    return PodTarget("jobs", "gpu", PodSettings.model_validate(settings), "registry.example.com/worker:1")


def work(**fields: Any) -> Work:
    return Work(name="j-1-1", command=("python", "-m", "workers.pod"), env={"A": "b"}, token="t", **fields)


@pytest.mark.parametrize(("is_spot", "nodes"), [(False, 2), (True, 1)])
@pytest.mark.parametrize("preset", sorted(presets()))
def test_every_preset_makes_objects_that_kubernetes_takes_under_the_restricted_standard(
    preset: str, is_spot: bool, nodes: int
) -> None:
    everything = {
        "service_account": "trainer",
        "image_pull_secrets": ("registry",),
        "priority_class": "low",
        "runtime_class": "nvidia",
        "queue": "team",
        "secrets": ("hub",),
        "node_selector": {"disk": "ssd"},
        "tolerations": (Toleration(key="team", value="vision", effect="NoSchedule"), Toleration(key="any")),
    }
    place = spot(preset=preset, spot=is_spot, **everything)
    for gpu in [None, *(Gpu(kind, 2) for kind in presets()[preset]["gpus"])]:
        asked = work(gpu=gpu, nodes=nodes, secrets={"TOKEN": "hub/token"}, memory=2**30)
        made = manifests.job(asked, place)
        admit("jobs", made)
        admit("secrets", manifests.secret(asked, place))
        admit("services", manifests.service(asked, place))
        admit("networkpolicies", manifests.network_policy(asked, place))
        amounts = made["spec"]["template"]["spec"]["containers"][0]["resources"]
        assert amounts["requests"] == amounts["limits"]
        least = manifests.job(replace(asked, cpu=0.05), place)["spec"]["template"]["spec"]["containers"][0]["resources"]
        assert (least["requests"]["cpu"], least["limits"]["cpu"]) == ("50m", "1000m")  # it has to start under it
        assert amounts["limits"].get("nvidia.com/gpu") == (None if gpu is None else "2")
        assert made["spec"]["suspend"] is True  # Kueue lets it go


def test_the_gpus_of_the_presets_are_those_that_jobs_can_name() -> None:
    for name, preset in presets().items():
        assert preset["gpus"].keys() <= KNOWN, name
        assert preset["sources"], name
        for kind, values in preset["gpus"].items():
            assert set(values) & set(preset["labels"].values()), (name, kind)


def test_what_a_cloud_does_not_have_or_a_pool_does_not_lend_is_refused() -> None:
    with pytest.raises(WorkRefused, match="gke has no GPU of type H1000"):
        manifests.job(work(gpu=Gpu("H1000", 1)), spot(preset="gke"))
    with pytest.raises(WorkRefused, match="does not let jobs read the Secret other"):
        manifests.job(work(secrets={"A": "other/key"}), spot())


def pod(phase: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "labels": {}}, "spec": {"nodeName": "n"}, "status": {"phase": phase, **status}}


def ended(**terminated: Any) -> dict[str, Any]:
    return pod("Failed", containerStatuses=[{"image": "i", "state": {"terminated": terminated}}])


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    return pod("Pending", conditions=scheduled, containerStatuses=[{"image": "i", "state": state}])


def disrupted(reason: str) -> dict[str, Any]:
    return pod("Failed", conditions=[{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}])


@pytest.mark.parametrize(
    ("status", "phase", "reason", "hopeless"),
    [
        (pod("Pending"), Phase.WAITING, Reason.POD_STARTING, False),
        (waiting("ContainerCreating"), Phase.STARTING, Reason.POD_STARTING, False),
        (waiting("ErrImagePull", "i: not found"), Phase.STARTING, Reason.IMAGE_UNAVAILABLE, False),
        (waiting("ImagePullBackOff", "i: not found"), Phase.STARTING, Reason.IMAGE_UNAVAILABLE, True),
        (waiting("ImagePullBackOff", "unexpected EOF"), Phase.STARTING, Reason.IMAGE_UNAVAILABLE, False),
        (waiting("ImagePullBackOff", "pull access denied"), Phase.STARTING, Reason.IMAGE_UNAVAILABLE, True),
        (waiting("InvalidImageName"), Phase.STARTING, Reason.IMAGE_UNAVAILABLE, True),
        (waiting("CreateContainerConfigError", 'secret "x"'), Phase.STARTING, Reason.POD_REFUSED, False),
        (pod("Running"), Phase.RUNNING, None, False),
        (pod("Succeeded"), Phase.SUCCEEDED, None, False),
        (ended(reason="OOMKilled", exitCode=137), Phase.FAILED, Reason.OOM, False),
        (ended(reason="Error", exitCode=137), Phase.FAILED, Reason.KILLED, False),
        (ended(reason="Error", exitCode=1, message="boom"), Phase.FAILED, Reason.INFRA_ERROR, False),
        (
            ended(reason="StartError", exitCode=128, message="python: not found"),
            Phase.FAILED,
            Reason.POD_REFUSED,
            False,
        ),
        (
            ended(reason="Error", exitCode=1, message="x\n/usr/bin/python: No module named workers"),
            Phase.FAILED,
            Reason.POD_REFUSED,
            False,
        ),
        (disrupted("PreemptionByScheduler"), Phase.FAILED, Reason.PREEMPTED, False),
        (disrupted("DeletionByTaintManager"), Phase.FAILED, Reason.PREEMPTED, False),
        (pod("Failed", reason="Evicted", message="low on memory"), Phase.FAILED, Reason.INFRA_ERROR, False),
        (pod("Failed", reason="DeadlineExceeded"), Phase.FAILED, Reason.TIMEOUT, False),
        (pod("Failed", reason="NodeShutdown"), Phase.FAILED, Reason.PREEMPTED, False),
    ],
)
def test_what_a_pod_says_has_a_reason(status: dict[str, Any], phase: Phase, reason: Reason, hopeless: bool) -> None:
    found = piece(status)
    assert (found.phase, found.reason, found.hopeless) == (phase, reason, hopeless)


@pytest.mark.parametrize(
    ("why", "words", "advice"),
    [
        ("ErrImagePull", "dial tcp: lookup r.example.com: no such host", "Let the nodes reach that registry."),
        ("ErrImagePull", "403 Forbidden", "imagePullSecrets"),
        ("ErrImagePull", "no match for platform in manifest", "processors of the nodes"),
        ("ImagePullBackOff", "toomanyrequests: You have reached your limit", "limits pulls"),
        ("ErrImagePull", "strange", "Look at the name of the image"),
        ("CreateContainerConfigError", "couldn't find key nokey in Secret jobs/hub", "Make it, with that key"),
        ("CreateContainerConfigError", "strange", "in the namespace of the pods"),
        ("CreateContainerError", "nvidia-container-cli: initialization error", "GPU driver of that node"),
        ("FailedAttachVolume", "Multi-Attach error for volume", "share a node (`beside`)"),
        ("FailedCreatePodSandBox", 'no runtime for "nvidia" is configured', "runtimeClass"),
        ("FailedCreatePodSandBox", "failed to assign an IP address to container", "no addresses left"),
        ("FailedCreatePodSandBox", "connection refused", "network plugin of that node"),
        ("FailedMount", "timed out waiting for the condition", "Look at the volume"),
    ],
)
def test_what_stands_in_the_way_comes_with_what_mends_it(why: str, words: str, advice: str) -> None:
    assert advice in fixes.fix(why, words)


def test_the_piece_that_says_most_speaks_for_all() -> None:
    pieces = (
        Piece(0, Phase.RUNNING),
        Piece(1, Phase.WAITING, Reason.UNSCHEDULABLE, "no room"),
        Piece(2, Phase.SUCCEEDED),
    )
    told = Status("j-1-1", pieces).telling
    assert told is not None
    assert told.message == "Node 1: no room"
    assert Status("j-1-1", ()).telling is None


def test_nodes_are_offered_by_shape() -> None:
    def node(name: str, gpus: str = "0", ready: str = "True", **spec: Any) -> dict[str, Any]:
        labels = (
            {"cloud.google.com/gke-accelerator": "nvidia-l4", "cloud.google.com/gke-spot": "true"}
            if gpus != "0"
            else {}
        )
        allocatable = {"cpu": "3920m", "memory": "16Gi", "nvidia.com/gpu": gpus}
        status = {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": ready}]}
        return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}

    nodes = [node("a"), node("b"), node("c", "4"), node("d", ready="False"), node("e", unschedulable=True)]
    there = offers(nodes, PodSettings(preset="gke"))
    assert sorted((one.machines, one.cpu, one.gpu, one.spot) for one in there) == [
        (1, 3.92, Gpu("L4", 4), True),
        (2, 3.92, None, False),
    ]


CONFIG = """
apiVersion: v1
kind: Config
current-context: x
clusters: [{name: c, cluster: {server: "https://x"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
"""


def plugin(*command: str) -> str:
    """A user whose credentials a program gives."""
    how = {"apiVersion": "client.authentication.k8s.io/v1", "command": command[0], "args": command[1:]}
    return f"exec: {json.dumps(how | {'interactiveMode': 'Never'})}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "does not have the form of one"),
        ("[]", "does not have the form of one"),
        ("hello", "does not have the form of one"),
        ("apiVersion: v1\nkind: Config\n", "cannot be used: Invalid kube-config file"),
        (None, "there is no such file"),
        (CONFIG.replace("context: {cluster: c", "context: {cluster: d"), "Expected object with name d"),
        (CONFIG.replace("user: u}", "user: v}"), "its context names the user v, whom it does not have"),
        (CONFIG.replace('server: "https://x"', "tls-server-name: x"), "names no server"),
        (CONFIG.replace("token: t", "tokenFile: /nowhere"), "No such file or directory: '/nowhere'"),
        (CONFIG.replace("token: t", plugin("no-such-plugin")), "No such file or directory: 'no-such-plugin'"),
        (CONFIG.replace("token: t", plugin("sh", "-c", "echo You must log in >&2; exit 1")), "You must log in"),
    ],
)
def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadReference, match=words):
        open_cluster(ClusterRef(kind=ClusterKind.KUBECONFIG, kubeconfig=str(path)))


def test_a_cluster_needs_what_its_kind_needs_and_no_more() -> None:
    with pytest.raises(InvalidSpec, match="a cluster of kind gke needs project"):
        CreateCluster(name="x", kind=ClusterKind.GKE, cluster="c", region="r")
    with pytest.raises(BadReference, match="does not run in a cluster"):
        open_cluster(ClusterRef(kind=ClusterKind.INCLUSTER))


def test_ranks_are_those_of_the_pod() -> None:
    env = {"JOB_COMPLETION_INDEX": "1", "NEUTRINO_NODES": "2", "NEUTRINO_MASTER": "m", "NEUTRINO_GPUS": "4"}
    env["NEUTRINO_POD_UID"] = "uid-1"
    found = Nodes.from_env(env | {"NEUTRINO_SECRETS": "HUB", "HUB": "x", "OTHER": "y"})
    assert not found.leads
    assert found.environment["HUB"] == "x"
    assert "OTHER" not in found.environment
    assert found.environment["PET_NPROC_PER_NODE"] == "4"
    assert (found.environment["RANK"], found.environment["WORLD_SIZE"]) == ("1", "2")


def test_tokens_are_asked_for_again_before_they_end() -> None:
    given = iter([("old", 0.0), ("new", 2.0**40)])
    token = Renewed(lambda: next(given))
    assert [token(), token(), token()] == ["old", "new", "new"]


@contextmanager
def cloud(answers: dict[str, tuple[int, Any]]) -> Iterator[str]:
    """The API of a cloud, on loopback: an answer for each path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path.partition("?")[0], (404, {"message": "no such cluster"}))
            self.send_response(status)
            if status == 404:
                self.send_header("x-amzn-ErrorType", "ResourceNotFoundException")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_eks_is_found_with_the_ambient_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"cluster": {"name": "prod", "endpoint": "https://eks", "certificateAuthority": {"data": "Q0E="}}}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    with cloud({"/clusters/prod": (200, known), "/clusters/secret": (403, {})}) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        found = eks.find(ClusterRef(kind=ClusterKind.EKS, cluster="prod", region="eu-west-1"))
        assert (found.server, found.ca) == ("https://eks", "Q0E=")
        assert found.token().startswith("k8s-aws-v1.")
        with pytest.raises(BadReference, match="EKS has no cluster none in eu-west-1"):
            eks.find(ClusterRef(kind=ClusterKind.EKS, cluster="none", region="eu-west-1"))
        with pytest.raises(ComputeDenied, match="refuses"):
            eks.find(ClusterRef(kind=ClusterKind.EKS, cluster="secret", region="eu-west-1"))


@pytest.mark.parametrize(
    ("describe", "variable", "prefix"),
    [
        (gke.describe, "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER", "/v1"),
        (aks.describe, "AZURE_RESOURCE_MANAGER_URL", ""),
    ],
)
def test_gke_and_aks_say_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, describe: Any, variable: str, prefix: str
) -> None:
    suffix = "/listClusterUserCredential" if describe is aks.describe else ""
    answers: dict[str, tuple[int, Any]] = {f"{prefix}/{n}{suffix}": (n, {}) for n in (401, 403, 404, 500, 429)}
    kinds: dict[int, type[ComputeError]] = {401: ComputeDenied, 403: ComputeDenied, 404: BadReference}
    with cloud(answers) as url:
        monkeypatch.setenv(variable, url)
        for status in (401, 403, 404, 500, 429):
            with pytest.raises(kinds.get(status, ComputeUnavailable)):
                describe(str(status), "token")
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with pytest.raises(ComputeUnavailable):
        describe("x", "token")


def test_a_token_that_cannot_be_had_now_is_a_cluster_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        def get_token(self, _scope: str) -> None:
            raise ServiceRequestError("no way")

        def refresh(self, _request: object) -> None:
            raise TransportError("no way")  # type: ignore[no-untyped-call]

    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(ComputeUnavailable, match="EKS in eu-west-1 cannot be asked"):
        eks._token(boto3.Session(region_name="eu-west-1"), "prod", "eu-west-1")
    with pytest.raises(ComputeUnavailable, match="Azure cannot be asked"):
        aks._token(Away(), "scope")
    with pytest.raises(ComputeUnavailable, match="Google Cloud cannot be asked"):
        gke._token(Away())


def test_whatever_goes_wrong_in_the_watch_is_silence_and_not_its_end() -> None:
    def fails(_settings: object) -> None:
        raise RuntimeError("nobody expected this")

    settings = Configuration(host="http://127.0.0.1:1", api_key={"authorization": "old"})
    settings.refresh_api_key_hook = fails
    informer, stop = Informer(KubeApi(ApiClient(settings)), "jobs", "gpu"), threading.Event()
    thread = threading.Thread(target=informer.run, args=(lambda _name: None, stop), daemon=True)
    thread.start()
    until(lambda: informer.silent_since is not None)
    assert thread.is_alive()
    stop.set()
    thread.join()

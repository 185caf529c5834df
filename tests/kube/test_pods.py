"""Jobs as pods, from the submission to the report, through the real API, launcher, and program in the pod."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.domain.errors import InvalidSpec
from orchestrator.domain.pods import Check
from orchestrator.domain.spec import Cloud, Placement, Resources, Retry
from orchestrator.domain.state import JobState, Reason
from tests.acceptance.site import Job, row_id, until
from tests.kube.cluster import NAMESPACE
from tests.kube.conftest import Field

pytestmark = pytest.mark.fault

FOREVER = ("sh", "-c", "echo up; exec sleep 1000")


@pytest.fixture(scope="module")
def pool(whole_field: Field) -> str:
    whole_field.launcher(name := whole_field.pool("pods", secrets=["hub"]))
    whole_field.cluster.objects.create(
        "secrets", NAMESPACE, {"metadata": {"name": "hub"}, "stringData": {"token": "s3cret"}}
    )
    return name


def says(field: Field, job: Job, words: str) -> bool:
    return words in job.why().message


def test_a_job_runs_in_a_pod_and_leaves_nothing(field: Field, pool: str) -> None:
    program = "echo from the pod with $HUB; echo result > $NEUTRINO_RUN_DIR/output/file"
    job = field.run("sh", "-c", program, runtime="pod", secrets={"HUB": "hub/token"})
    (view,) = field.ended(job)
    assert view.state is JobState.SUCCEEDED, view.message
    assert "from the pod with s3cret" in [line.text for line in job.logs()]
    until(lambda: [one["metadata"]["name"] for one in field.cluster.objects.all("secrets")] == ["hub"])
    until(lambda: field.recorded(job))
    assert "s3cret" not in str([pod["spec"]["containers"][0]["env"] for pod in field.cluster.pods(job=f"{job.id}-1")])


def test_a_pod_takes_a_checkpoint_when_it_is_asked_and_another_pod_reads_that(field: Field, pool: str) -> None:
    program = (
        "echo up; until test -e WANTED; do sleep 0.1; done; mkdir 7; echo saved > 7/s; touch 7/DONE; exec sleep 999"
    )
    job = field.run("sh", "-c", f"cd $NEUTRINO_CHECKPOINT_DIR; {program}", runtime="pod")
    field.running(job, "up")
    job.checkpoint()
    (made,) = until(lambda: [one for one in job.artifacts if one.kind == "checkpoint"])
    assert made.step == 7
    address = f"artifact://{made.id}"
    reader = field.run("sh", "-c", "cat $NEUTRINO_INPUTS_DIR/state/s", runtime="pod", inputs={"state": address})
    (view,) = field.ended(reader)
    assert view.state is JobState.SUCCEEDED, view.message
    assert "saved" in [line.text for line in reader.logs()]
    job.cancel()
    assert field.ended(job)[0].state is JobState.CANCELLED


def test_a_secret_that_the_pool_does_not_lend_is_refused(field: Field, pool: str) -> None:
    (view,) = field.ended(field.run("true", secrets={"HUB": "others/token"}))
    assert (view.state, view.reason) == (JobState.FAILED, Reason.POD_REFUSED)
    assert "does not let jobs read the Secret others; it lets them read hub" in view.message


def test_nodes_find_each_other_and_success_waits_for_all(field: Field, pool: str) -> None:
    program = 'test $NODE_RANK = 0 || sleep 2; echo "$RANK of $WORLD_SIZE at $MASTER_ADDR"'
    job = field.run("sh", "-c", program, resources=Resources(nodes=2))
    (view,) = field.ended(job)
    assert view.state is JobState.SUCCEEDED, view.message
    said = {line.text for line in job.logs()}
    assert {"[node0] 0 of 2 at 127.0.0.1", "[node1] 1 of 2 at 127.0.0.1"} <= said


def test_the_node_that_failed_is_named_and_takes_the_others_along(field: Field, pool: str) -> None:
    program = "test $NODE_RANK = 0 && exec sleep 1000; echo broken >&2; exit 3"
    job = field.run("sh", "-c", program, resources=Resources(nodes=2))
    (view,) = field.ended(job)
    assert (view.state, view.message) == (JobState.FAILED, "Node 1: Exit code 3: broken")
    until(lambda: not any(name in field.cluster.running for name in field.pods(job)))


def test_cancelled_means_that_the_pods_are_gone(field: Field, pool: str) -> None:
    job = field.run(*FOREVER, runtime="pod")
    field.running(job, "up")
    job.cancel()
    (view,) = field.ended(job)
    assert view.state is JobState.CANCELLED
    assert not any(name in field.cluster.running for name in field.pods(job))


def test_a_pod_that_is_deleted_by_hand_is_another_attempt(field: Field, pool: str) -> None:
    job = field.run(
        "sh",
        "-c",
        f"test -e {field.cluster.folder}/mark && exit; touch {field.cluster.folder}/mark; echo up; exec sleep 1000",
        runtime="pod",
    )
    pod = field.running_pod(job)
    field.running(job, "up")
    field.cluster.objects.delete("pods", NAMESPACE, pod)
    (view,) = field.ended(job)
    assert view.state is JobState.SUCCEEDED
    assert [attempt.reason for attempt in view.attempts] == ["preempted", "succeeded"]


def test_an_image_that_is_not_there_is_named(field: Field, pool: str) -> None:
    field.cluster.behaviour.missing_images.add("nowhere.example.com/none:1")
    (view,) = field.ended(field.run("true", image="nowhere.example.com/none:1"))
    assert (view.state, view.reason) == (JobState.FAILED, Reason.IMAGE_UNAVAILABLE)
    assert "nowhere.example.com/none:1: not found" in view.message


def test_why_has_the_schedulers_own_words_and_the_job_runs_once_there_is_room(field: Field, pool: str) -> None:
    words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    field.cluster.behaviour.place = lambda _pod: ("", words)
    job = field.run("true", runtime="pod")
    until(lambda: says(field, job, words))
    field.cluster.behaviour.place = lambda _pod: ("node-2", "")
    assert field.ended(job)[0].state is JobState.SUCCEEDED


def test_why_has_the_words_with_which_kubernetes_makes_no_pod(field: Field, pool: str) -> None:
    field.cluster.behaviour.quota = "exceeded quota: compute, requested: cpu=1, used: cpu=4, limited: cpu=4"
    job = field.run("true", runtime="pod")
    until(lambda: says(field, job, "exceeded quota: compute"))
    field.cluster.behaviour.quota = ""
    assert field.ended(job)[0].state is JobState.SUCCEEDED


def test_a_container_that_the_kernel_killed_ran_out_of_memory(field: Field, pool: str) -> None:
    job = field.run(*FOREVER, runtime="pod")
    field.running(job, "up")
    field.cluster.kill_container(field.running_pod(job), "OOMKilled")
    (view,) = field.ended(job)
    assert (view.state, view.reason) == (JobState.FAILED, Reason.OOM)
    assert "more than it had asked for" in view.message


def test_pods_outlive_their_launcher_and_are_adopted_by_the_next(field: Field, pool: str) -> None:
    (launcher,) = (one for one in field.launchers if one.env["NEUTRINO_POOL"] == pool)
    gate = field.cluster.folder / "gate"
    job = field.run("sh", "-c", f"echo up; while ! test -e {gate}; do sleep 0.1; done", runtime="pod")
    field.running(job, "up")
    launcher.stop(signal.SIGKILL)
    late = field.run("true", runtime="pod")
    launcher.start()
    assert field.ended(late)[0].state is JobState.SUCCEEDED
    gate.touch()
    (view,) = field.ended(job)
    assert (view.state, len(view.attempts)) == (JobState.SUCCEEDED, 1)
    until(lambda: field.recorded(job))


def test_a_silent_api_server_and_a_forgotten_history_restart_nothing(field: Field, pool: str) -> None:
    gate = field.cluster.folder / "silence"
    job = field.run("sh", "-c", f"echo up; while ! test -e {gate}; do sleep 0.1; done", runtime="pod")
    field.running(job, "up")
    field.cluster.faults.down = True
    late = field.run("true", runtime="pod")
    until(lambda: says(field, late, "Its pod cannot be made yet. Kubernetes says: the server is currently unable"))
    kept = "SELECT FROM attempts WHERE job_id = %s AND lease_expires_at > started_at + interval '13 seconds'"
    until(lambda: field.sql(kept, row_id(late)) and field.sql(kept, row_id(job)))
    field.cluster.objects.forget()
    field.cluster.faults.down = False
    gate.touch()
    assert [(view.state, len(view.attempts)) for view in field.ended(job, late)] == [(JobState.SUCCEEDED, 1)] * 2


def test_a_creation_whose_answer_got_lost_makes_one_job(field: Field, pool: str) -> None:
    field.cluster.faults.lost_answers = 1
    job = field.run("true", runtime="pod")
    (view,) = field.ended(job)
    assert (view.state, len(view.attempts)) == (JobState.SUCCEEDED, 1)
    assert len(field.pods(job)) == 1


def test_a_drained_cluster_gives_its_jobs_back(field: Field, pool: str) -> None:
    gate = field.cluster.folder / "drained"
    job = field.run("sh", "-c", f"echo up; test -e {gate} || exec sleep 1000", runtime="pod")
    field.running(job, "up")
    field.client.clusters.drain("double")
    until(lambda: field.view(job).state is JobState.QUEUED)
    assert field.view(job).attempts[0].reason == "preempted"
    gate.touch()
    field.client.clusters.resume("double")
    assert field.ended(job)[0].state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image": "Not An Image"}, "not the name of an image"),
        ({"image": "x" * 600}, "not the name of an image"),
        ({"runtime": "process", "image": "a/b:1"}, "need pods"),
        ({"privileged": True}, "privileged"),
        ({"hostPath": "/"}, "hostPath"),
        ({"runAsUser": 0}, "runAsUser"),
        ({"secrets": {"A": "no-key"}}, "secrets"),
    ],
)
def test_bad_input_is_refused_before_anything_is_stored(fields: dict[str, object], words: str) -> None:
    from orchestrator.domain.document import parse

    document = {
        "apiVersion": "neutrino/v1",
        "kind": "Command",
        "metadata": {"name": "x"},
        "spec": {"command": ["true"], **fields},
    }
    with pytest.raises(InvalidSpec, match=words):
        parse(document)


def test_check_tries_everything_from_a_pod_and_names_what_is_missing(field: Field, pool: str) -> None:
    def checked() -> dict[str, Check]:
        asked = field.client.clusters.check("double").asked_at
        assert asked is not None
        until(lambda: (at := field.client.clusters.get("double").checked_at) is not None and at > asked)
        return {check.name: check for check in field.client.clusters.get("double").checks}

    field.cluster.node("cpu-node")
    found = checked()
    assert not [check.detail for check in found.values() if not check.ok]
    assert list(found) == ["API server", "permissions", "capacity", "pod", "way to the API", "way to the store"]
    field.cluster.faults.denied.add(("create", "secrets"))
    found = checked()
    assert "may not: create secrets" in found["permissions"].detail
    assert "Role" in (found["permissions"].fix or "")
    field.cluster.faults.denied.clear()
    field.cluster.faults.namespaces.clear()
    found = checked()
    assert "kubectl create namespace jobs" in (found["permissions"].fix or "")
    field.cluster.faults.namespaces.add(NAMESPACE)


def test_a_pool_that_is_changed_is_another_one_for_its_launcher(field: Field, pool: str) -> None:
    launcher = field.launcher(field.pool("changing"))
    lent = {"placement": Placement(pool="changing"), "secrets": {"HUB": "hub/token"}}
    assert field.ended(field.run("true", **lent))[0].reason == Reason.POD_REFUSED
    change = "UPDATE pools SET pods = pods || %s::jsonb WHERE name = 'changing' RETURNING id"
    field.sql(change, '{"secrets": ["hub"]}')
    until(lambda: field.ended(field.run("true", **lent))[0].state is JobState.SUCCEEDED)
    assert launcher.process is not None
    assert launcher.process.poll() is None
    launcher.stop()


def test_more_nodes_than_a_pool_allows_are_explained(field: Field, pool: str) -> None:
    job = field.run("true", resources=Resources(nodes=99), retry=Retry())
    until(lambda: says(field, job, "pods: runs jobs of up to 16 nodes, not of 99"))
    job.cancel()


@pytest.mark.slow
def test_before_an_uninstallation_every_job_is_removed_and_none_comes_after(field: Field) -> None:
    launcher = field.launcher(field.pool("leaving"))
    job = field.run(*FOREVER, placement=Placement(pool="leaving"))
    field.running(job, "up")
    command = [sys.executable, "-m", "workers.launcher", "--remove-all"]
    subprocess.run(command, env=os.environ | launcher.env, check=True, timeout=120)
    left = [one for one in field.cluster.objects.all("jobs") if one["metadata"]["labels"]["neutrino/pool"] == "leaving"]
    assert left == []
    assert field.view(job).state is not JobState.FAILED
    launcher.stop()
    job.cancel()


@pytest.mark.slow
def test_a_bare_torchrun_trains_on_all_nodes(field: Field, pool: str) -> None:
    program = (
        "import torch, torch.distributed as d; d.init_process_group('gloo'); t = torch.ones(1) * (d.get_rank() + 1);"
        "d.all_reduce(t); print('sum', int(t), 'of', d.get_world_size(), flush=True); d.destroy_process_group()"
    )
    job = field.run("torchrun", "--no-python", "python", "-c", program, resources=Resources(nodes=2, memory=4 * 2**30))
    (view,) = field.ended(job)
    assert view.state is JobState.SUCCEEDED, view.message
    assert {"[node0] sum 3 of 2", "[node1] sum 3 of 2"} <= {line.text for line in job.logs()}


def test_the_command_line_adds_checks_and_removes(
    field: Field, pool: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEUTRINO_API_URL", field.stack.url)
    monkeypatch.setenv("NEUTRINO_TOKEN", field.stack.admin_token)
    good, expired = str(field.cluster.kubeconfig()), field.cluster.folder / "expired"
    expired.write_text(Path(good).read_text().replace("kube-token-for-tests", "an-old-token"))
    for name, path in (("good", good), ("expired", str(expired)), ("lost", "/nowhere/kubeconfig")):
        assert main(["cluster", "add", name, "--kubeconfig", path]) == 0
    assert main(["cluster", "list", "-o", "name"]) == 0
    assert {"double", "good", "expired", "lost"} <= set(capsys.readouterr().out.split())
    assert main(["cluster", "check", "good", "--here"]) == 0
    assert "All that is needed" in capsys.readouterr().out
    assert main(["cluster", "check", "expired", "--here"]) == 1
    assert "does not know these credentials" in capsys.readouterr().out
    assert main(["cluster", "check", "lost", "--here"]) == 1
    assert "/nowhere/kubeconfig cannot be used" in capsys.readouterr().out
    assert main(["cluster", "check", "good"]) == 5
    assert "No launcher of cluster good is online" in capsys.readouterr().err
    assert main(["cluster", "remove", "good"]) == 0
    store = f"file://{field.stack.data_dir}/store"
    assert main(["pool", "create", "odd", "--store", store, "--cluster", "double", "--gpu", "H1000"]) == 5
    assert "Did you mean H100?" in capsys.readouterr().err


def test_a_claim_that_never_became_a_job_is_tried_again(field: Field, pool: str) -> None:
    """The launcher dies between its claim and the Job, which takes a silent API server to arrange."""
    (launcher,) = (one for one in field.launchers if one.env["NEUTRINO_POOL"] == pool)
    field.cluster.faults.down = True
    job = field.run("true", placement=Placement(pool=pool))
    until(lambda: field.view(job).state is JobState.RUNNING)
    launcher.stop(signal.SIGKILL)
    launcher.start()
    field.cluster.faults.down = False
    (view,) = field.ended(job)
    assert view.state is JobState.SUCCEEDED
    assert [attempt.reason for attempt in view.attempts] in (["infra_error", "succeeded"], ["lease_lost", "succeeded"])


@pytest.mark.slow
def test_a_job_that_finds_no_node_looks_elsewhere_when_its_pool_has_no_patience(field: Field, pool: str) -> None:
    field.launcher(field.pool("hasty", patience="1s"))
    full = "0/9 nodes are available: 9 Too many pods."
    is_hasty = {"neutrino/pool": "hasty"}
    field.cluster.behaviour.place = lambda pod: (
        ("", full) if is_hasty.items() <= pod["metadata"]["labels"].items() else ("node-1", "")
    )
    job = field.run("true", placement=Placement(pool="hasty"))
    until(lambda: field.view(job).attempts and field.view(job).attempts[0].reason == "no_capacity")
    assert full in field.view(job).attempts[0].message
    field.cluster.behaviour.place = lambda _pod: ("node-1", "")
    assert field.ended(job)[0].state is JobState.SUCCEEDED


def test_a_job_that_waits_for_a_node_can_be_moved(field: Field, pool: str) -> None:
    field.launcher(field.pool("far", cloud="gcp"))
    is_far = {"neutrino/pool": "far"}
    field.cluster.behaviour.place = lambda pod: (
        ("node-2", "") if is_far.items() <= pod["metadata"]["labels"].items() else ("", "0/3 nodes are available.")
    )
    field.ended(field.run("true", placement=Placement(pool="far")))  # so it is there
    job = field.run("true", runtime="pod", placement=Placement(clouds=(Cloud.LOCAL,)))
    until(lambda: says(field, job, "0/3 nodes"))
    job.migrate("gcp")
    (view,) = field.ended(job)
    assert (view.state, view.pool) == (JobState.SUCCEEDED, "far"), view.message
    assert [attempt.reason for attempt in view.attempts] == ["migrating", "succeeded"]

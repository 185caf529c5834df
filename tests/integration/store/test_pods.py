"""Attempts in pods: who renews the lease, what is said of them, and what their launcher may not lose."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.errors import Conflict, InvalidSpec, LeaseLost
from orchestrator.domain.ids import AttemptId
from orchestrator.domain.pods import ClusterKind, CreateCluster, PodSettings
from orchestrator.domain.protocol import NodeBeat, PodWait
from orchestrator.domain.spec import Placement, Resources
from orchestrator.domain.state import JobState, Reason
from orchestrator.scheduler import reconciler
from orchestrator.store import clusters, cost, history, pods, pools, usage
from tests.integration.store.plane import LEASE, Plane, command


@pytest.fixture
def launcher(plane: Plane) -> int:
    with plane.database.transaction() as connection:
        clusters.create(connection, CreateCluster(name="kube", kind=ClusterKind.KUBECONFIG))
    plane.pool("pods", cluster="kube", pods=PodSettings(max_nodes=2))
    return plane.worker("pods", name="launcher-pods", outlived=True)


def remaining(plane: Plane, attempt: AttemptId) -> float:
    (row,) = plane.sql(
        "SELECT extract(epoch FROM lease_expires_at - clock_timestamp()) AS left FROM attempts "
        "WHERE job_id = :job_id AND epoch = :epoch",
        **attempt._asdict(),
    )
    return float(row.left)


def shorten(plane: Plane, attempt: AttemptId) -> None:
    plane.sql(
        "UPDATE attempts SET lease_expires_at = clock_timestamp() + interval '9 seconds' "
        "WHERE job_id = :job_id AND epoch = :epoch",
        **attempt._asdict(),
    )


def attach(plane: Plane, attempt: AttemptId, node: int = 0, pod: str = "uid-1") -> str:
    with plane.database.transaction() as connection:
        lease, _ = pods.attach(connection, attempt, node, pod, "token", LEASE)
    return lease.attempt


def beat(plane: Plane, attempt: AttemptId, node: int = 0, *, done: bool = False) -> tuple[bool, int]:
    with plane.database.transaction() as connection:
        reply = pods.beat(connection, attempt, NodeBeat(node=node, done=done), LEASE)
    return not reply.lost, reply.done


def test_the_launcher_renews_until_the_pod_does(plane: Plane, launcher: int) -> None:
    attempt = plane.running(launcher)
    shorten(plane, attempt)
    plane.heartbeat(launcher, attempt)
    assert remaining(plane, attempt) > 20
    assert attach(plane, attempt) == str(attempt)
    shorten(plane, attempt)
    assert plane.heartbeat(launcher, attempt).lost == ()
    assert remaining(plane, attempt) < 10
    assert beat(plane, attempt) == (True, 0)
    assert remaining(plane, attempt) > 20


def test_each_node_is_one_pods(plane: Plane, launcher: int) -> None:
    attempt = plane.running(launcher, command(resources=Resources(nodes=2)))
    for _ in range(2):  # whose answer got lost asks again
        attach(plane, attempt, 0, "uid-1")
    attach(plane, attempt, 1, "uid-2")
    for node in (0, 1):
        with pytest.raises(LeaseLost, match=f"Node {node} of attempt {attempt} runs in another pod"):
            attach(plane, attempt, node, "uid-3")


def test_only_the_first_node_renews_and_the_others_say_when_they_are_done(plane: Plane, launcher: int) -> None:
    attempt = plane.running(launcher, command(resources=Resources(nodes=2)))
    attach(plane, attempt, 1)
    shorten(plane, attempt)
    assert beat(plane, attempt, 1) == (True, 0)
    assert remaining(plane, attempt) < 10
    plane.heartbeat(launcher, attempt)  # who waits for the first node's image is not lost
    assert remaining(plane, attempt) > 20
    for _ in range(2):  # an answer that got lost is asked for again
        assert beat(plane, attempt, 1, done=True) == (True, 1)


def test_a_pod_that_comes_too_late_gets_nothing(plane: Plane, launcher: int) -> None:
    attempt = plane.running(launcher)
    plane.expire(attempt)
    with pytest.raises(LeaseLost):
        attach(plane, attempt)
    assert beat(plane, attempt) == (False, 0)


def test_what_is_said_stands_beside_the_job_while_its_attempt_lives(plane: Plane, launcher: int) -> None:
    attempt = plane.running(launcher)
    (waiting,) = plane.submit()
    plane.dispatch()

    def say(words: str) -> None:
        wait = PodWait(attempt=str(attempt), reason=Reason.UNSCHEDULABLE, message=words)
        with plane.database.transaction() as connection:
            pods.say(connection, launcher, [(attempt, wait)])
            pods.trouble(connection, launcher, "The cluster is silent.")

    say("0/3 nodes")
    job = plane.job(attempt.job_id)
    assert (job.state, job.reason, job.message) == (JobState.RUNNING, "unschedulable", "0/3 nodes")
    assert plane.job(waiting).message == "The cluster is silent."
    plane.expire(attempt)
    say("too late")
    assert plane.job(attempt.job_id).message == "0/3 nodes"


def test_a_launcher_that_hears_nothing_of_its_cluster_says_so_until_it_does(plane: Plane, launcher: int) -> None:
    for trouble in ("The cluster is silent.", "The cluster is still silent.", None):
        with plane.database.transaction() as connection:
            clusters.heard(connection, launcher, trouble)
            assert clusters.get(connection, "kube").trouble == trouble


def test_a_pool_of_pods_takes_what_one_of_processes_cannot(plane: Plane, launcher: int) -> None:
    plane.worker("local")
    specs = [
        command(image="a/b:1"),
        command(resources=Resources(nodes=2)),
        command(runtime="pod"),
        command(runtime="process"),
        command(resources=Resources(nodes=3)),
    ]
    ids = plane.submit(*specs)
    plane.dispatch()
    names = {row.id: row.name for row in plane.sql("SELECT id, name FROM pools")}
    assert [names.get(plane.job(job_id).pool_id) for job_id in ids] == ["pods", "pods", "pods", "local", None]


def test_a_cluster_in_use_stays_and_an_unknown_gpu_is_refused(plane: Plane, launcher: int) -> None:
    plane.running(launcher)
    with plane.database.transaction() as connection:
        with pytest.raises(Conflict, match="Jobs run on cluster kube: 1"):
            clusters.remove(connection, "kube")
        with pytest.raises(InvalidSpec, match="H1000 is no type of GPU"):
            pools.check_gpus(connection, [command(resources=Resources(gpu="H1000"))])
        pools.check_gpus(connection, [command(resources=Resources(gpu="H100:8"))])


def test_an_attempt_costs_since_the_first_of_its_pods_began(plane: Plane, launcher: int) -> None:
    plane.sql("UPDATE pools SET usd_per_hour = 2 WHERE name = 'pods'")
    attempt = plane.running(launcher, command(resources=Resources(nodes=2), placement=Placement(max_cost_usd=4)))
    plane.sql("UPDATE attempts SET started_at = started_at - interval '90 hours'")
    since = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=5)

    def spent() -> tuple[float, float, float]:
        """In dollars: by the hours' page, by the days' page, and by the job's own."""
        with plane.database.transaction() as connection:
            hours, days = (
                sum(one.usd for one in cost.spent(connection, plane.workspace, since=since, unit=unit, by="pool"))
                for unit in ("hour", "day")
            )
            return hours, days, history.spending(connection, attempt.job_id).usd or 0.0

    def rates() -> tuple[float, float | None]:
        with plane.database.transaction() as connection:
            return cost.today(connection, plane.workspace).rate, history.spending(connection, attempt.job_id).rate

    assert spent() == (0, 0, 0)
    assert rates() == (0, None)
    assert reconciler.stop_dear(plane.database) == 0
    attach(plane, attempt, node=1, pod="uid-2")
    assert rates() == (4, 4)
    shorten(plane, attempt)
    plane.heartbeat(launcher, attempt)
    assert remaining(plane, attempt) > 20  # the first node's pod is not there yet
    plane.sql("UPDATE attempts SET attached_at = attached_at - interval '45 minutes'")
    assert spent() == pytest.approx((3, 3, 3), abs=0.3)
    assert reconciler.stop_dear(plane.database) == 0
    plane.sql("UPDATE attempts SET attached_at = attached_at - interval '20 minutes'")
    assert reconciler.stop_dear(plane.database) == 1
    plane.report(launcher, attempt, Reason.CANCELLED_BY_USER)
    plane.sql("UPDATE attempts SET finished_at = finished_at - interval '5 minutes'")
    plane.sql("UPDATE usage_until SET until = now() - interval '1 day'")
    with plane.database.transaction() as connection:
        assert usage.add_up(connection, 10) == 1
    assert spent() == pytest.approx((4, 4, 4), abs=0.3)


def test_a_worker_that_is_no_launcher_does_not_work_in_a_pool_of_pods(plane: Plane, launcher: int) -> None:
    with pytest.raises(Conflict, match="Pool pods is one of pods"):
        plane.worker("pods", name="plain")

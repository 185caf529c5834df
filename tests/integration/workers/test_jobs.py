"""What jobs of each kind get from a worker, and what they leave behind."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest

from cloud_adapters import artifacts
from cloud_adapters.registry import open_store
from orchestrator.domain.protocol import CheckpointRef
from orchestrator.domain.spec import Command, Outputs, SourceFile
from orchestrator.domain.state import Reason
from tests.integration.workers.conftest import Workers
from tests.integration.workers.control_plane import ControlPlane


def _source(plane: ControlPlane, path: str, text: str) -> SourceFile:
    data = text.encode()
    sha256 = hashlib.sha256(data).hexdigest()
    plane.files[sha256] = data
    return SourceFile(path=path, sha256=sha256, size=len(data))


def test_output_and_exit_code_of_a_program(plane: ControlPlane, workers: Workers) -> None:
    attempt = plane.submit(Command(name="a", command=("sh", "-c", "echo out; echo err >&2; exit 3")))
    workers.start()
    report = plane.report_of(attempt)
    assert (report.reason, report.exit_code, report.message) == (Reason.USER_ERROR, 3, "Exit code 3: err")
    assert plane.attempts[attempt].text("stdout") == ["out"]
    assert plane.attempts[attempt].text("stderr") == ["err"]


def test_a_program_that_is_not_there(plane: ControlPlane, workers: Workers) -> None:
    attempt = plane.submit(Command(name="a", command=("no-such-program",)))
    workers.start()
    report = plane.report_of(attempt)
    assert report.exit_code == 127
    assert "no-such-program" in report.message


@pytest.mark.parametrize(
    ("script", "named"),
    [
        ("ln -s /etc/hostname $NEUTRINO_RUN_DIR/output/link", "link"),
        ("rmdir $NEUTRINO_RUN_DIR/output", "output folder"),
        ("rmdir $NEUTRINO_RUN_DIR/output && ln -s /etc $NEUTRINO_RUN_DIR/output", "output folder"),
        ("true", "model digits"),
    ],
    ids=["a link", "no folder", "a folder from elsewhere", "nothing"],
)
def test_an_output_that_can_never_be_stored_is_the_jobs_own_fault(
    plane: ControlPlane, workers: Workers, script: str, named: str
) -> None:
    attempt = plane.submit(Command(name="a", command=("sh", "-c", script), outputs=Outputs(model="digits")))
    workers.start()
    report = plane.report_of(attempt)
    assert (report.reason, report.output) == (Reason.INVALID_OUTPUT, None)
    assert named in report.message


def test_no_secret_of_the_worker_reaches_a_job(plane: ControlPlane, workers: Workers) -> None:
    attempt = plane.submit(Command(name="a", command=("env",), env={"MINE": "yes"}))
    workers.start(DATABASE_URL="postgresql://secret", AWS_SECRET_ACCESS_KEY="secret")
    plane.report_of(attempt)
    env = dict(line.split("=", 1) for line in plane.attempts[attempt].text())
    assert env["MINE"] == "yes"
    assert {name for name in env if name.startswith("NEUTRINO")} == {"NEUTRINO_RUN_DIR", "NEUTRINO_CHECKPOINT_DIR"}
    assert not {"REDIS_URL", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY"} & env.keys()


def test_a_function_with_files_params_metrics_and_a_result(plane: ControlPlane, workers: Workers) -> None:
    source = _source(
        plane,
        "pkg/job.py",
        "from orchestrator.sdk.run import run\n"
        "def work(lr, epochs):\n"
        "    nu = run()\n"
        "    for _ in range(epochs):\n"
        "        nu.log_metrics({'loss': lr, 'bad': float('nan')})\n"
        "    nu.progress(0.5, 'half')\n"
        "    (nu.output_dir / 'weights.bin').write_bytes(b'w' * 1000)\n"
        "    return {'lr': lr}\n",
    )
    spec = Command(name="f", entrypoint="pkg.job:work", params={"lr": 0.5, "epochs": 3}, files=(source,))
    attempt = plane.submit(spec)
    workers.start()
    report = plane.report_of(attempt)
    assert report.reason is Reason.SUCCEEDED, report
    held = plane.attempts[attempt]
    assert [(p.name, p.step, p.value) for p in held.metrics] == [
        (name, step, value) for step in range(3) for name, value in (("loss", 0.5), ("bad", None))
    ]
    assert held.progress == 0.5
    assert report.output is not None
    manifest = artifacts.read_manifest(open_store(plane.store), report.output.prefix)
    assert manifest.digest == report.output.digest
    assert [file.path for file in manifest.files] == ["result.json", "weights.bin"]
    result = b"".join(artifacts.open_verified(open_store(plane.store), report.output.prefix, manifest.files[0]))
    assert json.loads(result) == {"lr": 0.5}


def test_an_exception_is_the_message_and_the_traceback_is_the_users_own(plane: ControlPlane, workers: Workers) -> None:
    source = _source(plane, "job.py", "def work():\n    raise KeyError('no such column')\n")
    attempt = plane.submit(Command(name="f", entrypoint="job:work", files=(source,)))
    workers.start()
    assert plane.report_of(attempt).message == "Exit code 1: KeyError: 'no such column'"
    log = plane.attempts[attempt].text("stderr")
    assert log[0] == "Traceback (most recent call last):"
    assert "job.py" in log[1]


def test_running_out_of_memory_in_python_is_oom(plane: ControlPlane, workers: Workers) -> None:
    attempt = plane.submit(Command(name="m", command=("python", "-c", "b'x' * (1 << 60)")))
    workers.start()
    assert plane.report_of(attempt).reason is Reason.OOM


def test_using_more_memory_than_asked_for_is_oom_with_figures(plane: ControlPlane, workers: Workers) -> None:
    code = "import time; hog = b'x' * (300 << 20); time.sleep(60)"
    spec = Command(name="m", command=("python", "-c", code), resources={"memory": "64Mi"})
    attempt = plane.submit(spec)
    workers.start()
    report = plane.report_of(attempt)
    assert report.reason is Reason.OOM
    assert "asked for 64Mi" in report.message


def test_checkpoints_are_committed_before_the_call_returns_and_the_next_attempt_gets_the_last(
    plane: ControlPlane, workers: Workers
) -> None:
    source = _source(
        plane,
        "job.py",
        "import pathlib\n"
        "from orchestrator.sdk.run import run\n"
        "def work():\n"
        "    nu = run()\n"
        "    step = nu.resume_step or 0\n"
        "    if nu.resume_dir: print('found', (nu.resume_dir / 'state').read_text())\n"
        "    pathlib.Path('ckpt').mkdir(exist_ok=True)\n"
        "    for step in range(step + 1, step + 4):\n"
        "        pathlib.Path('ckpt/state').write_text(str(step))\n"
        "        nu.checkpoint('ckpt', step)\n"
        "        print('saved', step)\n"
        "    raise SystemExit(9)\n",
    )
    spec = Command(name="c", entrypoint="job:work", files=(source,))
    first = plane.submit(spec)
    workers.start()
    assert plane.report_of(first).exit_code == 9
    held = plane.attempts[first]
    assert held.text() == ["saved 1", "saved 2", "saved 3"]
    assert [published.step for published in held.checkpoints] == [1, 2, 3]
    store = open_store(plane.store)
    last = held.checkpoints[-1].artifact
    deadline = time.monotonic() + 60
    while {info.key.rpartition("/")[0] for info in store.list(held.lease.prefix)} != {last.prefix}:
        assert time.monotonic() < deadline, "superseded checkpoints are removed"
        time.sleep(0.05)
    resume = CheckpointRef(step=3, store=last.store, prefix=last.prefix, digest=last.digest)
    second = plane.submit(spec, resume=resume, epoch=2)
    plane_bell(plane, workers)
    plane.report_of(second)
    assert plane.attempts[second].text()[0] == "found 3"
    assert "Resuming from the checkpoint at step 3." in plane.attempts[second].text("system")


def plane_bell(plane: ControlPlane, workers: Workers) -> None:
    """Without Redis there is no bell: the next heartbeat tells that work waits. A new worker asks at once."""
    workers.processes[-1].terminate()
    assert workers.processes[-1].wait(timeout=120) == 0
    workers.start()


def test_a_damaged_input_is_never_used(plane: ControlPlane, workers: Workers) -> None:
    source = _source(plane, "job.py", "def work(): pass\n")
    plane.files[source.sha256] = b"def work(): evil()\n"
    attempt = plane.submit(Command(name="f", entrypoint="job:work", files=(source,)))
    workers.start()
    report = plane.report_of(attempt)
    assert report.reason is Reason.STAGING_FAILED
    assert "job.py" in report.message


def test_what_a_job_leaves_in_the_background_is_ended(plane: ControlPlane, workers: Workers) -> None:
    script = "setsid sh -c 'sleep 1000' & sleep 1000 & echo started"
    attempt = plane.submit(Command(name="b", command=("sh", "-c", script)))
    workers.start()
    assert plane.report_of(attempt).reason is Reason.SUCCEEDED
    assert workers.leftovers() == []


def test_nothing_of_an_attempt_stays_on_disk(plane: ControlPlane, workers: Workers) -> None:
    attempt = plane.submit(Command(name="d", command=("sh", "-c", "mkdir -p a/b; echo x > a/b/c; echo y > $HOME/z")))
    workers.start()
    plane.report_of(attempt)
    deadline = time.monotonic() + 120
    while list((workers.data_dir / "attempts").iterdir()):  # nobody waits for what is being removed
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_line_of_100_megabytes_is_cut(plane: ControlPlane, workers: Workers) -> None:
    code = "import sys; [sys.stdout.write('x' * (1 << 20)) for _ in range(100)]; print(); print('after')"
    attempt = plane.submit(Command(name="l", command=("python", "-c", code)))
    worker = workers.start()
    plane.report_of(attempt)
    long, after = plane.attempts[attempt].text()
    assert len(long) < 17_000
    assert f"[{(100 << 20) - 16384} bytes dropped]" in long
    assert after == "after"
    peak = next(
        int(line.split()[1])
        for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    assert peak < 200 * 1024, "the worker's own memory stays small (in KiB)"


def test_many_lines_arrive_all_and_in_order(plane: ControlPlane, workers: Workers) -> None:
    attempt = plane.submit(Command(name="l", command=("seq", "1", "30000")))
    workers.start()
    plane.report_of(attempt)
    assert plane.attempts[attempt].text() == [str(number) for number in range(1, 30001)]


def test_interrupted_code_unwinds_and_is_preempted(plane: ControlPlane, workers: Workers) -> None:
    source = _source(
        plane,
        "job.py",
        "import time\n"
        "def work():\n"
        "    try:\n"
        "        print('ready')\n"
        "        while True: time.sleep(0.01)\n"
        "    finally:\n"
        "        print('unwound')\n",
    )
    attempt = plane.submit(Command(name="i", entrypoint="job:work", files=(source,)))
    worker = workers.start()
    plane.wait(lambda: attempt in plane.attempts and "ready" in plane.attempts[attempt].text())
    worker.terminate()
    assert plane.report_of(attempt).reason is Reason.PREEMPTED
    assert plane.attempts[attempt].text() == ["ready", "unwound"]


def test_code_that_looks_at_stopping_saves_itself(plane: ControlPlane, workers: Workers) -> None:
    source = _source(
        plane,
        "job.py",
        "import pathlib, time\n"
        "from orchestrator.domain.run import Interrupted\n"
        "from orchestrator.sdk.run import run\n"
        "def work():\n"
        "    nu = run()\n"
        "    pathlib.Path('ckpt').mkdir()\n"
        "    pathlib.Path('ckpt/state').write_text('7')\n"
        "    while not nu.stopping:\n"
        "        print('ready') if nu else None\n"
        "        time.sleep(0.01)\n"
        "    nu.checkpoint('ckpt', 7)\n"
        "    raise Interrupted\n",
    )
    attempt = plane.submit(Command(name="i", entrypoint="job:work", files=(source,)))
    worker = workers.start()
    plane.wait(lambda: attempt in plane.attempts and "ready" in plane.attempts[attempt].text())
    worker.terminate()
    assert plane.report_of(attempt).reason is Reason.PREEMPTED
    assert [published.step for published in plane.attempts[attempt].checkpoints] == [7]


def test_a_program_and_its_children_may_use_the_run_too(plane: ControlPlane, workers: Workers) -> None:
    inner = "from orchestrator.sdk.run import run; run().log_metrics({'x': 1.5}, step=4)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], check=True, close_fds=True)"
    attempt = plane.submit(Command(name="p", command=("python", "-c", outer)))
    workers.start()
    assert plane.report_of(attempt).reason is Reason.SUCCEEDED
    [point] = plane.attempts[attempt].metrics
    assert (point.name, point.step, point.value) == ("x", 4, 1.5)


def test_many_metrics_in_one_call_all_arrive(plane: ControlPlane, workers: Workers) -> None:
    source = _source(
        plane,
        "job.py",
        "from orchestrator.sdk.run import run\n"
        "def work():\n"
        "    run().log_metrics({f'metric/{n}/' + 'ü' * 50: n for n in range(500)}, step=1)\n",
    )
    attempt = plane.submit(Command(name="m", entrypoint="job:work", files=(source,)))
    workers.start()
    assert plane.report_of(attempt).reason is Reason.SUCCEEDED
    assert [point.value for point in plane.attempts[attempt].metrics] == list(range(500))


def test_garbage_on_the_channel_is_named_and_harmless(plane: ControlPlane, workers: Workers) -> None:
    lines = ("garbage", '{"metrics": {"": 1}, "step": -1}')
    script = ";".join(f"echo '{line}' > $NEUTRINO_RUN_DIR/channel" for line in lines)
    attempt = plane.submit(Command(name="g", command=("sh", "-c", script)))
    workers.start()
    assert plane.report_of(attempt).reason is Reason.SUCCEEDED
    assert len(plane.attempts[attempt].text("system")) == 2

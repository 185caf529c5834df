"""Checkpoints of programs in any language, on request, and the one that can be had when others cannot."""

from __future__ import annotations

from pathlib import Path

from cloud_adapters.artifacts import publish
from cloud_adapters.registry import open_store
from orchestrator.domain.protocol import CheckpointRef
from orchestrator.domain.spec import Command
from orchestrator.domain.state import Reason
from tests.integration.workers.conftest import Workers
from tests.integration.workers.control_plane import ControlPlane

# Finishes a folder the way the contract says, waits to be asked for the next one, writes a last one when it must go.
PROGRAM = """
save() {
  mkdir "$NEUTRINO_CHECKPOINT_DIR/$1"
  echo "state $1" > "$NEUTRINO_CHECKPOINT_DIR/$1/state"
  touch "$NEUTRINO_CHECKPOINT_DIR/$1/DONE"
}
trap 'save 30; exit 0' TERM
mkdir "$NEUTRINO_CHECKPOINT_DIR/5" "$NEUTRINO_CHECKPOINT_DIR/007"
touch "$NEUTRINO_CHECKPOINT_DIR/007/DONE"
save 10
while [ ! -e "$NEUTRINO_CHECKPOINT_DIR/WANTED" ]; do sleep 0.02; done
save 20
while :; do sleep 0.02; done
"""


def _steps(plane: ControlPlane, attempt: str) -> list[int]:
    return [one.step for one in plane.attempts[attempt].checkpoints] if attempt in plane.attempts else []


def test_what_a_program_leaves_in_its_folder_becomes_a_checkpoint_once_it_is_done(
    plane: ControlPlane, workers: Workers
) -> None:
    plane.lease_seconds = 3.0
    attempt = plane.submit(Command(name="w", command=("sh", "-c", PROGRAM)))
    workers.start()
    plane.wait(lambda: _steps(plane, attempt) == [10])
    with plane.changed:
        plane.attempts[attempt].asked = "checkpoint"
    plane.wait(lambda: _steps(plane, attempt) == [10, 20])
    with plane.changed:
        plane.attempts[attempt].asked = "move"
    report = plane.report_of(attempt)
    assert report.reason is Reason.MIGRATING
    assert _steps(plane, attempt) == [10, 20, 30], "what was complete when it went is kept; 5 and 007 never were"
    last = plane.attempts[attempt].checkpoints[-1].artifact
    stored = Path(plane.store.removeprefix("file://"), last.prefix)
    assert {path.name: path.read_text() for path in stored.iterdir() if path.name != "manifest.json"} == {
        "state": "state 30\n"
    }
    resume = CheckpointRef(step=30, store=last.store, prefix=last.prefix, digest=last.digest)
    script = 'echo "$NEUTRINO_RESUME_STEP"; cat "$NEUTRINO_RESUME_DIR/state"'
    second = plane.submit(Command(name="r", command=("sh", "-c", script)), resume=resume)
    with plane.changed:
        plane.changed.notify_all()
    assert plane.report_of(second).reason is Reason.SUCCEEDED
    assert plane.attempts[second].text() == ["30", "state 30"]
    assert plane.attempts[second].resumed is None


def test_a_checkpoint_with_a_name_that_no_store_keeps_is_refused_and_the_program_hears_of_it(
    plane: ControlPlane, workers: Workers
) -> None:
    code = """
import os, orchestrator as nu
run = nu.run()
folder = run.scratch_dir / "state"
folder.mkdir()
(folder / os.fsdecode(b"caf\\xe9")).write_text("x")
try:
    run.checkpoint(folder, 1)
except RuntimeError as error:
    print(error)
left = os.environ["NEUTRINO_CHECKPOINT_DIR"] + "/2"
os.rename(folder, left)
open(left + "/DONE", "w").close()
"""
    attempt = plane.submit(Command(name="n", command=("python", "-c", code)))
    workers.start()
    assert plane.report_of(attempt).reason is Reason.SUCCEEDED
    assert _steps(plane, attempt) == []
    assert "is not UTF-8" in plane.attempts[attempt].text()[0]
    assert "The checkpoint at step 2 was not stored." in " ".join(plane.attempts[attempt].text("system"))


def test_a_checkpoint_that_cannot_be_had_gives_way_to_the_next_one(
    plane: ControlPlane, workers: Workers, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "value").write_text("20")
    manifest = publish(open_store(plane.store), "jobs/old/20", tmp_path / "state")
    refs = {
        "gone": CheckpointRef(step=40, store="s3://gone?endpoint=http://127.0.0.1:1", prefix="p", digest="0" * 64),
        "unfinished": CheckpointRef(step=30, store=plane.store, prefix="jobs/old/30", digest="1" * 64),
        "another": CheckpointRef(step=25, store=plane.store, prefix="jobs/old/20", digest="2" * 64),
        "good": CheckpointRef(step=20, store=plane.store, prefix="jobs/old/20", digest=manifest.digest),
    }
    first, *others = refs.values()
    script = 'echo "$NEUTRINO_RESUME_STEP"; cat "$NEUTRINO_RESUME_DIR/value"'
    attempt = plane.submit(Command(name="f", command=("sh", "-c", script)), resume=first, fallbacks=tuple(others))
    workers.start(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    assert plane.report_of(attempt, 60).reason is Reason.SUCCEEDED
    assert plane.attempts[attempt].text() == ["20", "20"]
    told = plane.attempts[attempt].resumed
    assert told is not None
    assert (told.step, told.store) == (20, plane.store)
    assert [one.step for one in told.skipped] == [40, 30, 25]
    assert "127.0.0.1:1" in told.skipped[0].why or "s3" in told.skipped[0].why


def test_what_an_older_checkpoint_has_nearby_is_not_read_from_afar(
    plane: ControlPlane, workers: Workers, tmp_path: Path
) -> None:
    state, afar = tmp_path / "state", tmp_path / "afar"
    state.mkdir()
    afar.mkdir()
    (state / "frozen").write_text("the same for ever")
    (state / "value").write_text("10")
    old = publish(open_store(plane.store), "jobs/old/10", state)
    (state / "value").write_text("20")
    new = publish(open_store(afar.as_uri()), "jobs/old/20", state)
    (afar / "jobs/old/20/frozen").unlink()  # so that it can only come from here
    newest = CheckpointRef(step=20, store=afar.as_uri(), prefix="jobs/old/20", digest=new.digest)
    older = CheckpointRef(step=10, store=plane.store, prefix="jobs/old/10", digest=old.digest)
    script = 'cat "$NEUTRINO_RESUME_DIR/frozen"; echo; cat "$NEUTRINO_RESUME_DIR/value"'
    attempt = plane.submit(Command(name="d", command=("sh", "-c", script)), resume=newest, fallbacks=(older,))
    workers.start()
    assert plane.report_of(attempt, 60).reason is Reason.SUCCEEDED
    assert plane.attempts[attempt].text() == ["the same for ever", "20"]
    assert plane.attempts[attempt].resumed is None


def test_when_no_checkpoint_can_be_had_the_attempt_says_so_and_nothing_runs(
    plane: ControlPlane, workers: Workers
) -> None:
    gone = CheckpointRef(step=40, store=plane.store, prefix="jobs/old/40", digest="0" * 64)
    attempt = plane.submit(Command(name="n", command=("echo", "ran")), resume=gone, fallbacks=(gone,))
    workers.start()
    report = plane.report_of(attempt, 60)
    assert report.reason is Reason.STAGING_FAILED
    assert plane.attempts[attempt].text() == []

"""What goes on of an attempt that was stopped while its inputs came."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from orchestrator.domain.protocol import CheckpointRef
from orchestrator.domain.spec import Command
from orchestrator.domain.state import Reason
from tests.integration.workers.conftest import Workers
from tests.integration.workers.control_plane import ControlPlane

_AT_ONCE = 4  # as many downloads as a worker runs beside each other
_NOT_THERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def _runs(plane: ControlPlane, script: str) -> str:
    """Runs a program that needs no input; returns its attempt."""
    attempt = plane.submit(Command(name="n", command=("sh", "-c", script)))
    report = plane.report_of(attempt, 60)
    assert report.reason is Reason.SUCCEEDED, report.message
    return attempt


def test_downloads_that_were_stopped_keep_nobody_from_publishing_and_touch_no_folder_of_another_job(
    plane: ControlPlane, workers: Workers, tmp_path: Path
) -> None:
    plane.lease_seconds = 10.0
    folders = tmp_path / "data" / "attempts"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        store = f"s3://bucket?endpoint=http://127.0.0.1:{silent.getsockname()[1]}"
        ref = CheckpointRef(step=1, store=store, prefix="p", digest="0" * 64)
        stuck = [plane.submit(Command(name="s", command=("true",)), resume=ref) for _ in range(_AT_ONCE)]
        workers.start(NEUTRINO_SLOTS=f"{_AT_ONCE + 2}", AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
        asked = [silent.accept()[0] for _ in stuck]  # all threads that bring inputs are in mid-call
        theirs = set(folders.iterdir())
        published = _runs(plane, "echo x > $NEUTRINO_RUN_DIR/output/x")
        assert plane.report_of(published).output is not None
        with plane.changed:
            for attempt in stuck:
                plane.attempts[attempt].cancel = True
        for attempt in stuck:
            assert plane.report_of(attempt).reason is Reason.CANCELLED_BY_USER
        following = _runs(plane, "echo $NEUTRINO_RUN_DIR")
        assert Path(plane.attempts[following].text()[0]) not in theirs
        for connection in asked:
            with connection:
                connection.sendall(_NOT_THERE)
    deadline = time.monotonic() + 60
    while theirs & set(folders.iterdir()):
        assert time.monotonic() < deadline, "the folders go once nothing fills them any more"
        time.sleep(0.02)

"""A zombie: repeats what attempts that have ended might still say, with a worker's token. None of it may count."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from typing import Any

import httpx
import psycopg

from orchestrator.domain.artifact import Manifest, ManifestFile
from orchestrator.domain.ids import AttemptId, encode
from orchestrator.domain.state import Reason
from tests.storm import audit

MARK = "zombie"
"""Stands in all that it writes, so that the oracle finds it."""

# Attempts that a newer one has replaced, and attempts that have simply ended.
_ENDED = """
    SELECT a.job_id, a.epoch, a.worker_id, j.workspace_id, coalesce(l.last_line, 0) AS last_line,
      a.epoch < j.epoch AS replaced
    FROM attempts a JOIN jobs j ON j.id = a.job_id
    LEFT JOIN LATERAL (SELECT max(last_line) AS last_line FROM log_chunks c
      WHERE c.job_id = a.job_id AND c.epoch = a.epoch) l ON true
    WHERE a.state <> 'RUNNING' AND (a.epoch < j.epoch OR random() < 0.05) ORDER BY a.started_at DESC LIMIT 200
"""
_LATE_SEQ = 1_000_000
_PATIENCE_S = 60.0
_REASONS = (Reason.SUCCEEDED, Reason.USER_ERROR, Reason.PREEMPTED, Reason.CLAIM_LOST, Reason.CANCELLED_BY_USER)


class Zombie:
    """Speaks for the dead. `said` counts its calls; `heeded` tells of those that were accepted."""

    def __init__(self, url: str, token: str, database: str, store: str, seed: int) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        )
        self._database = database
        self._store = store
        self._choose = random.Random(f"zombie {seed}")
        self._numbers = 0
        self.said: Counter[str] = Counter()
        self.heeded: list[str] = []

    def run(self, stop: threading.Event) -> None:
        """Haunt until told to stop."""
        while not stop.wait(0.1):
            self._round()

    def rise_again(self) -> None:
        """Haunt once more when the storm is over: however slow the machine was, there is now an attempt that another
        one has replaced, and somebody to listen. It is the last time."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self._round(replaced=True) and time.monotonic() < deadline:
            pass
        self._http.close()

    def _round(self, *, replaced: bool = False) -> bool:
        """Speak for a few; False when nobody was there to listen."""
        try:
            with audit.connect(self._database) as connection:
                ended = [row for row in connection.execute(_ENDED) if row.replaced or not replaced]
            for row in self._choose.sample(ended, min(len(ended), 10)):
                self._haunt(row)
        except (psycopg.OperationalError, httpx.TransportError):
            time.sleep(0.2)  # the API or the database is away: it is a storm
            return False
        return True

    def _haunt(self, row: Any) -> None:
        attempt = AttemptId(row.job_id, row.epoch)
        worker = encode("w", row.worker_id)
        self._numbers += 1
        self._append(attempt, row.last_line + 1)
        self._checkpoint(attempt, row.workspace_id)
        self._report(attempt, worker)
        self._heartbeat(attempt, worker)

    def _call(self, route: str, body: dict[str, Any]) -> httpx.Response:
        self.said[route] += 1
        return self._http.post(f"/v1/worker/{route}", json=body)

    def _check_lost(self, route: str, attempt: AttemptId, answer: httpx.Response) -> None:
        if answer.status_code == 200 and str(attempt) not in answer.json()["lost"]:
            self.heeded.append(f"{route} of {attempt}, which had ended: {answer.text[:200]}")

    def _append(self, attempt: AttemptId, first_line: int) -> None:
        now = time.time()
        batch = {
            "attempt": str(attempt),
            "seq": _LATE_SEQ + self._numbers,
            "firstLine": first_line,
            "lines": [{"at": now, "stream": "stdout", "text": MARK}],
            "metrics": [{"name": MARK, "step": 0, "value": 1.0, "at": now}],
            "progress": 0.5,
            "message": MARK,
        }
        self._check_lost("append", attempt, self._call("append", {"appends": [batch]}))

    def _checkpoint(self, attempt: AttemptId, workspace: int) -> None:
        prefix = f"artifacts/{workspace}/{attempt}/checkpoints/{MARK}-{self._numbers}"
        body = {"attempt": str(attempt), "step": 999_999, "artifact": self._upload(prefix)}
        answer = self._call("checkpoint", body)
        if answer.status_code == 200:
            self.heeded.append(f"checkpoint of {attempt}, which had ended")

    def _upload(self, prefix: str) -> dict[str, Any]:
        """A true artifact: not its bytes are wrong, but who publishes them."""
        content = MARK.encode()
        file = ManifestFile(path="state", size=len(content), sha256=hashlib.sha256(content).hexdigest())
        manifest = Manifest.of([file])
        folder = audit.folder_of(self._store, prefix)
        folder.mkdir(parents=True)
        (folder / "state").write_bytes(content)
        (folder / "manifest.json").write_bytes(manifest.to_bytes())
        return {"store": self._store, "prefix": prefix, "digest": manifest.digest, "size": len(content), "files": 1}

    def _report(self, attempt: AttemptId, worker: str) -> None:
        report = {"attempt": str(attempt), "reason": self._choose.choice(_REASONS), "message": MARK}
        self._check_lost("report", attempt, self._call("report", {"worker": worker, "reports": [report]}))

    def _heartbeat(self, attempt: AttemptId, worker: str) -> None:
        self._check_lost("heartbeat", attempt, self._call("heartbeat", {"worker": worker, "attempts": [str(attempt)]}))

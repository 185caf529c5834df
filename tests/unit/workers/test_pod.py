"""A pod that finds no way to the API."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_pod_that_never_reaches_the_api_ends_and_says_what_to_mend(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    env = {
        "NEUTRINO_API_URL": "http://127.0.0.1:1",
        "NEUTRINO_DATA_DIR": str(tmp_path),
        "NEUTRINO_TOKEN_FILE": str(tmp_path / "token"),
        "NEUTRINO_WORKER_NAME": "j-1-1",
        "NEUTRINO_POD_UID": "uid-1",
    }
    program = "import sys; from workers import pod; pod._ATTACH_PATIENCE = 0.1; sys.exit(pod.main())"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | env, capture_output=True, text=True, timeout=120, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert "The API at http://127.0.0.1:1 never answered" in last
    assert "NEUTRINO_POD_API_URL" in last

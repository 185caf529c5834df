"""`neutrino up` and `down` on a folder of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from orchestrator.sdk.profile import Profile
from tests.integration.cli.conftest import Cli


def test_up_makes_the_profile_and_down_stops_everything(neutrino: Cli, server_folder: Path) -> None:
    for name in ("NEUTRINO_API_URL", "NEUTRINO_TOKEN"):
        neutrino.environment.pop(name)
    folder = f"--data-dir={server_folder / 'up'}"
    up = neutrino("up", "--detach", "--workers", "0", folder)
    try:
        assert up.returncode == 0, up.stderr
        url = up.stdout.strip()
        assert Profile(url).url in neutrino("whoami").stdout
        again = neutrino("up", "-d", folder)
        assert again.returncode != 0
        assert url in again.stderr
        assert "Traceback" not in again.stderr
        doctor = neutrino("doctor")
        assert doctor.returncode == 1  # nobody is there to run jobs
        assert "neutrino up --workers 1" in doctor.stdout
    finally:
        down = neutrino("down", folder)
    assert down.returncode == 0
    assert neutrino("ps").returncode == 7
    assert "Nothing runs" in neutrino("down", folder).stderr


def test_ctrl_c_stops_what_up_started(neutrino: Cli, server_folder: Path) -> None:
    running = neutrino.start("up", "--workers", "0", f"--data-dir={server_folder / 'foreground'}")
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.readline().startswith("http://127.0.0.1:")
    os.kill(running.pid, signal.SIGINT)
    told = running.stderr.read()
    running.stdout.close()
    running.stderr.close()
    assert running.wait(60) == 0
    assert "Stopped." in told

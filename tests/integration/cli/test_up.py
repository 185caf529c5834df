"""`neutrino up` and `down` on a folder of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from orchestrator.embedded import ports
from orchestrator.sdk.profile import Profile
from tests.integration.cli.conftest import Cli


def test_up_makes_the_profile_and_down_stops_everything(program: Cli, server_folder: Path) -> None:
    folder = f"--data-dir={server_folder / 'up'}"
    port = str(ports.choose(server_folder / "up-port"))  # not the usual one, where other stacks may answer later
    up = program("up", "--detach", "--workers", "0", "--port", port, folder)
    try:
        assert up.returncode == 0, up.stderr
        url = up.stdout.strip()
        assert Profile(url).url in program("whoami").stdout
        again = program("up", "-d", folder)
        assert again.returncode == 5
        assert url in again.stderr
        assert "neutrino down --data-dir" in again.stderr
        assert "Traceback" not in again.stderr
        doctor = program("doctor")
        assert doctor.returncode == 1  # nobody is there to run jobs
        assert "neutrino up --workers 1" in doctor.stdout
        down = program("down")  # the stack that the profile points to
        assert down.returncode == 0
        for told in (url, "api", "scheduler-1", str(server_folder / "up")):
            assert told in down.stderr
    finally:
        nothing = program("down", folder)
    assert nothing.returncode == 0
    assert f"Nothing runs on {server_folder / 'up'}" in nothing.stderr
    assert program("ps").returncode == 7
    elsewhere = program("down", XDG_DATA_HOME=str(server_folder / "elsewhere"))
    assert elsewhere.returncode == 0
    assert "--data-dir" in elsewhere.stderr


def test_ctrl_c_while_it_starts_is_an_interruption(program: Cli, server_folder: Path) -> None:
    starting = program.start("up", "--workers", "0", f"--data-dir={server_folder / 'early'}")
    assert starting.stderr is not None
    assert starting.stdout is not None
    assert starting.stderr.readline().startswith("Starting")
    os.kill(starting.pid, signal.SIGINT)
    told = starting.stderr.read()
    starting.stdout.close()
    starting.stderr.close()
    assert starting.wait(timeout=120) == 130
    assert "Traceback" not in told
    assert "Nothing runs" in program("down", f"--data-dir={server_folder / 'early'}").stderr


def test_a_wrong_address_of_a_server_is_one_sentence_with_a_fix(program: Cli, server_folder: Path) -> None:
    away = "postgresql://nobody:s3cret@127.0.0.1:1/none"
    up = program("up", "--detach", f"--data-dir={server_folder / 'wrong'}", DATABASE_URL=away)
    assert up.returncode == 7, up.stderr
    assert "The Postgres of DATABASE_URL at 127.0.0.1:1 cannot be used" in up.stderr
    assert "unset DATABASE_URL" in up.stderr
    for never in ("Traceback", "s3cret"):
        assert never not in up.stderr

"""The Dockerfile, as far as can be said without building it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.version import VERSION
from tests.helm.chart import CHART

ROOT = CHART.parents[1]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
IGNORED = (ROOT / ".dockerignore").read_text("utf-8").splitlines()


def _final_stages() -> str:
    return TEXT[TEXT.index("AS runtime") :]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_runs_is_not_root_and_brings_no_build_tools() -> None:
    final = _final_stages()
    assert "USER 10001:10001" in final
    assert not re.search(r"\bpip\b|apt-get|USER root", final)


def test_what_is_compiled_does_not_carry_the_time_of_the_build() -> None:
    """pip reads PIP_NO_COMPILE=1 as "do compile", and what it compiles names the time of each source."""
    installs = re.findall(r"pip .*\binstall (.*)", TEXT)
    assert len(installs) == TEXT.count("--no-compile") >= 3
    assert len(re.findall(r"compileall (.*)", TEXT)) == TEXT.count("--invalidation-mode unchecked-hash")


def test_no_command_with_the_workers_credentials_runs_among_the_jobs() -> None:
    control_plane, _, worker = _final_stages().partition("AS worker")
    assert "\nHEALTHCHECK" in control_plane
    assert "\nHEALTHCHECK" not in worker
    assert "NEUTRINO_ALIVE_BIND" in worker


def test_what_is_copied_is_there_and_in_the_context() -> None:
    allowed = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    assert IGNORED[1] == "*"
    for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert source == "." or source.split("/")[0] in allowed
    needed = {"orchestrator", "workers", "cloud_adapters", "migrations", "pyproject.toml", "constraints.txt"}
    assert needed <= allowed


@pytest.mark.parametrize(
    "name",
    ["version", "appVersion"],
)
def test_chart_and_images_have_the_version_of_the_code(name: str) -> None:
    found = re.search(rf'^{name}: "?([^"\n]+)"?$', (CHART / "Chart.yaml").read_text("utf-8"), re.MULTILINE)
    assert found
    assert found[1] == VERSION
    assert f'image.version="{VERSION}"' in TEXT

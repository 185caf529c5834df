"""Logs are lines for people, or JSON objects for machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SPEAK = """
import logging
from orchestrator import logs
logs.configure("api")
log = logging.getLogger("neutrino.test")
log.info("j-1 %s", "moved", extra={"job": "j-1"})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("two\\nlines")
"""


def speak(**settings: str) -> subprocess.CompletedProcess[str]:
    """What a service says on stderr."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("NEUTRINO_LOG")} | settings
    return subprocess.run([sys.executable, "-c", SPEAK], env=env, capture_output=True, text=True, check=False)


def test_every_record_is_one_json_object_with_its_fields() -> None:
    first, second = (json.loads(line) for line in speak(NEUTRINO_LOG_FORMAT="json").stderr.splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "INFO",
        "logger": "neutrino.test",
        "message": "j-1 moved",
        "service": "api",
        "job": "j-1",
    }
    assert second["message"] == "two\nlines"
    assert "ZeroDivisionError" in second["exc_info"]


def test_for_people_it_is_text() -> None:
    first = speak().stderr.splitlines()[0]
    assert first.endswith("INFO api neutrino.test: j-1 moved")


@pytest.mark.parametrize("setting", [{"NEUTRINO_LOG_FORMAT": "xml"}, {"NEUTRINO_LOG_LEVEL": "LOUD"}])
def test_a_setting_that_means_nothing_is_said(setting: dict[str, str]) -> None:
    done = speak(**setting)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{next(iter(setting))} is '{next(iter(setting.values()))}'. Set it to ")


@pytest.mark.parametrize("module", ["workers.pod", "workers.launcher"])
def test_pods_and_launchers_log_as_all_services_do(module: str) -> None:
    command = [sys.executable, "-m", module]
    env = os.environ | {"NEUTRINO_LOG_LEVEL": "loud"}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr == "NEUTRINO_LOG_LEVEL is 'LOUD'. Set it to DEBUG, INFO, WARNING or ERROR.\n"

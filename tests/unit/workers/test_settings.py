"""Settings from the environment."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import NeutrinoError
from workers import ready
from workers.runner import job_environment
from workers.settings import Settings

_ENV = {
    "NEUTRINO_API_URL": "http://127.0.0.1:1",
    "NEUTRINO_TOKEN": "secret-token",
    "REDIS_URL": "redis://:secret-password@127.0.0.1/0",
    "NEUTRINO_DATA_DIR": "scratch",
}


def test_defaults() -> None:
    settings = Settings.from_env(_ENV)
    assert settings.pool == "local"
    assert settings.name.endswith("-local")
    assert settings.slots >= 2
    assert settings.data_dir.is_absolute()


def test_secrets_are_not_printed() -> None:
    assert "secret" not in repr(Settings.from_env(_ENV))


@pytest.mark.parametrize("name", _ENV)
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(NeutrinoError, match=name):
        Settings.from_env({key: value for key, value in _ENV.items() if key != name})


@pytest.mark.parametrize("slots", ["0", "-1", "many", "nan", "1e9"])
def test_nonsense_is_refused(slots: str) -> None:
    with pytest.raises(NeutrinoError, match="NEUTRINO_SLOTS"):
        Settings.from_env(_ENV | {"NEUTRINO_SLOTS": slots})


def test_a_job_sees_an_allow_list() -> None:
    env = job_environment(
        _ENV | {"PATH": "/bin", "LANG": "de_DE.UTF-8", "CUDA_VISIBLE_DEVICES": "1", "AWS_X": "secret"}
    )
    assert env["CUDA_VISIBLE_DEVICES"] == "1"
    assert env["LANG"] == "de_DE.UTF-8"
    assert env["PATH"].endswith(":/bin")
    assert not any("secret" in value for value in env.values())


def test_who_waits_for_the_api_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUTRINO_API_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("NEUTRINO_TOKEN", raising=False)
    with pytest.raises(SystemExit, match="NEUTRINO_TOKEN is not set"):
        ready.main()

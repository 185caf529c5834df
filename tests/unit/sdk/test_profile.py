"""Which API is meant, and with which token."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from orchestrator.domain.errors import AuthenticationError, NeutrinoError, NotFound
from orchestrator.sdk.profile import Profile, config_path, current, resolve, save


def test_arguments_win_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    save(Profile("http://file", "file-token"), name="local")
    assert resolve() == Profile("http://file", "file-token", "local")
    monkeypatch.setenv("NEUTRINO_API_URL", "http://env/")
    monkeypatch.setenv("NEUTRINO_TOKEN", "env-token\n")
    assert resolve() == Profile("http://env", "env-token")
    assert resolve("http://argument", "argument-token") == Profile("http://argument", "argument-token")


def test_a_stored_token_goes_to_no_other_url(monkeypatch: pytest.MonkeyPatch) -> None:
    save(Profile("http://file", "file-token"), name="local")
    assert resolve("http://elsewhere").token is None
    assert resolve("http://file/").token == "file-token"
    monkeypatch.setenv("NEUTRINO_API_URL", "http://elsewhere")
    assert resolve().token is None


@pytest.mark.parametrize("variable", ["NEUTRINO_API_URL", "NEUTRINO_TOKEN"])
@pytest.mark.parametrize("value", ["", " \n"])
def test_an_empty_variable_does_not_fall_back_to_the_file(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    save(Profile("http://file", "file-token"), name="local")
    monkeypatch.setenv(variable, value)
    with pytest.raises(AuthenticationError, match=f"{variable} is set, but empty") as caught:
        resolve()
    assert f"unset {variable}" in str(caught.value.hint)
    assert resolve("http://argument", "argument-token") == Profile("http://argument", "argument-token")


def test_without_any_api_the_error_says_what_to_do() -> None:
    with pytest.raises(AuthenticationError, match="neutrino up"):
        resolve()


def test_the_file_keeps_other_profiles_and_is_for_its_owner_only() -> None:
    save(Profile("http://one", "1"), name="one")
    path = save(Profile("http://two", "2"), name="two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert current() == Profile("http://two", "2", "two")
    save(Profile("http://one", "1b"), name="one")
    assert current() == Profile("http://one", "1b", "one")
    assert [left.name for left in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["{", "[]", '{"profiles": 3}'])
def test_a_damaged_file_is_named(text: str) -> None:
    config_path().write_text(text)
    with pytest.raises(NeutrinoError, match=config_path().name):
        resolve()


def test_a_profile_without_url_is_named() -> None:
    config_path().write_text('{"current": "gone", "profiles": {}}')
    with pytest.raises(NotFound, match="gone"):
        resolve()


def test_a_url_needs_its_scheme() -> None:
    with pytest.raises(NeutrinoError, match="https://"):
        resolve("neutrino.example.com", "t")


def test_the_config_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NEUTRINO_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_path() == tmp_path / "neutrino" / "config.json"


def test_no_token_in_a_repr() -> None:
    assert "secret" not in repr(Profile("http://one", "secret"))

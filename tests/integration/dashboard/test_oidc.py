"""Signing in through a provider: groups become roles, and nothing that is not exactly right lets anybody in."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc.jwk import RSAKey

from orchestrator.dashboard import oidc
from orchestrator.dashboard.provider_calls import ProviderFault
from orchestrator.domain.errors import NeutrinoError
from orchestrator.server import Front
from orchestrator.store.session import Database
from tests.integration.api.client import Api, serve
from tests.integration.dashboard.conftest import csrf
from tests.integration.dashboard.provider import CLIENT, SECRET, Provider


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    """A provider that runs."""
    provider = Provider()
    with serve(provider.app()) as url:
        provider.issuer = url
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    """The provider, honest again."""
    running.claims, running.faults = {}, {}
    running.key = running.published
    return running


@pytest.fixture(scope="module")
def front(running: Provider, database: Database, api: Api) -> Iterator[str]:
    """The address of a dashboard that trusts the provider."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUTRINO_OIDC_ISSUER", running.issuer)
        patch.setenv("NEUTRINO_OIDC_CLIENT_ID", CLIENT)
        patch.setenv("NEUTRINO_OIDC_CLIENT_SECRET", SECRET)
        patch.setenv("NEUTRINO_OIDC_ROLES", "ml=submitter@vision, ops=operator@vision, root=admin@other")
        server = Front(database)
    with serve(server) as url:
        yield url


def _sign_in(front: str, to: str = "/workers") -> tuple[httpx.Client, httpx.Response]:
    browser = httpx.Client(timeout=120)
    browser.get(f"{front}/login/oidc", params={"next": to}, follow_redirects=True)
    answer = browser.get(f"{front}/")
    return browser, answer


def _refused(front: str) -> None:
    browser, page = _sign_in(front)
    assert page.status_code == 303
    assert page.headers["Location"] == "/login"
    browser.close()


@pytest.mark.parametrize(
    ("groups", "workspace", "role"),
    [(["ml"], "vision", "submitter"), (["ml", "ops"], "vision", "operator"), ("root", "other", "admin")],
)
def test_groups_become_a_role_in_a_workspace(
    front: str, provider: Provider, groups: Any, workspace: str, role: str
) -> None:
    provider.claims = {"groups": groups}
    browser, page = _sign_in(front)
    assert page.status_code == 200
    assert f"{workspace} · {role}" in page.text
    assert "ada@example.org" in page.text
    browser.close()


def test_who_is_let_into_several_workspaces_changes_between_them(front: str, provider: Provider) -> None:
    provider.claims = {"groups": ["root", "ml"]}
    browser, page = _sign_in(front)
    assert "vision · submitter" in page.text  # the first entry of the settings that fits
    fields = {"csrf": csrf(browser, front), "workspace": "other"}
    assert browser.post(f"{front}/ui/workspace", data={"workspace": "other"}).status_code == 403
    assert browser.post(f"{front}/ui/workspace", data=fields | {"workspace": "third"}).status_code == 403
    assert browser.post(f"{front}/ui/workspace", data=fields).status_code == 303
    assert "other · admin" in browser.get(f"{front}/").text
    assert browser.get(f"{front}/admin/tokens").status_code == 200
    browser.close()
    provider.claims = {"groups": ["ml"]}
    browser, page = _sign_in(front)
    assert 'name="workspace"' not in page.text
    assert browser.post(f"{front}/ui/workspace", data=fields | {"csrf": csrf(browser, front)}).status_code == 403
    browser.close()


@pytest.mark.parametrize("said", [None, False, "false"])
def test_an_address_that_nobody_verified_is_nobody_s_name(front: str, provider: Provider, said: Any) -> None:
    provider.claims = {"sub": "of-mallory", "email_verified": said}
    browser, page = _sign_in(front)
    assert "of-mallory" in page.text
    assert "ada@example.org" not in page.text
    browser.close()


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://somebody.example"},
        {"aud": "another"},
        {"aud": [CLIENT, "another"]},
        {"azp": "another"},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"groups": []},
        {"groups": ["nobody"]},
        {"groups": 5},
        {"nonce": "é"},
        {"exp": "soon"},
        {"sub": "\x00", "email_verified": False},
    ],
    ids=str,
)
def test_what_is_not_exactly_right_lets_nobody_in(front: str, provider: Provider, claims: dict[str, Any]) -> None:
    provider.claims = claims
    _refused(front)


def test_a_token_that_somebody_else_signed_lets_nobody_in(front: str, provider: Provider) -> None:
    provider.key = RSAKey.generate_key(2048, parameters={"kid": "first"})
    _refused(front)
    provider.key = RSAKey.generate_key(2048, parameters={"kid": "never published"})
    _refused(front)


def test_a_new_key_of_the_provider_is_fetched(front: str, provider: Provider) -> None:
    provider.key = provider.published = RSAKey.generate_key(2048, parameters={"kid": "second"})
    browser, page = _sign_in(front)
    assert page.status_code == 200
    browser.close()


def test_an_answer_belongs_to_the_browser_that_went_there_and_counts_once(front: str, provider: Provider) -> None:
    with httpx.Client(timeout=30) as victim, httpx.Client(timeout=120) as attacker:
        there = attacker.get(f"{front}/login/oidc").headers["Location"]
        back = attacker.get(there).headers["Location"]
        assert parse_qs(urlsplit(there).query)["code_challenge_method"] == ["S256"]
        assert victim.get(back).status_code == 401  # somebody else's sign-in, handed to a victim
        assert attacker.get(back).status_code == 303
        assert attacker.get(back).status_code == 401
        assert attacker.get(f"{front}/login/oidc/back", params={"state": "x", "code": "y"}).status_code == 401


def test_whoever_only_asks_for_the_way_to_the_provider_leaves_nothing_behind(
    front: str, provider: Provider, database: Database
) -> None:
    with database.transaction() as connection:
        rows = connection.exec_driver_sql("SELECT count(*) FROM sessions").scalar_one()
    for _ in range(3):
        assert httpx.get(f"{front}/login/oidc").status_code == 303
    with database.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sessions").scalar_one() == rows


@pytest.mark.parametrize("cookie", ["", ":::", "x", "a:b:c", "é:b:c:d", "x:b:c:d:e"])
def test_a_forged_cookie_lets_nobody_in(front: str, provider: Provider, cookie: str) -> None:
    headers = [(b"Cookie", f"neutrino_away={cookie}".encode())]
    answer = httpx.get(f"{front}/login/oidc/back", params={"state": "x", "code": "y"}, headers=headers)
    assert answer.status_code == 401


def test_a_provider_that_is_away_says_so_and_tokens_still_work(
    database: Database, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUTRINO_OIDC_ISSUER", "http://127.0.0.1:9")
    monkeypatch.setenv("NEUTRINO_OIDC_CLIENT_ID", CLIENT)
    with serve(Front(database)) as url:
        answer = httpx.get(f"{url}/login/oidc")
        assert answer.status_code == 503
        assert "sign in with a token" in answer.text
        assert httpx.post(f"{url}/login", data={"token": api.tokens["viewer"]}).status_code == 303


ABOUT = "/.well-known/openid-configuration"
METADATA = "http://169.254.169.254/latest/meta-data/"
FAULTS = [
    (ABOUT, Response("<html>Sign in</html>"), 502, "is not JSON"),
    (ABOUT, Response("{" * 100_000), 502, "is not JSON"),
    (ABOUT, Response(b"\xff\xfe"), 502, "is not JSON"),
    (ABOUT, JSONResponse([]), 502, "cannot be read"),
    (ABOUT, JSONResponse({"issuer": "https://idp.example"}), 502, "has no authorization_endpoint"),
    (ABOUT, JSONResponse({"issuer": 5}), 502, "cannot be read: issuer"),
    (ABOUT, Response(status_code=404), 502, "(404)"),
    (ABOUT, Response(status_code=500), 503, "fails (500)"),
    (ABOUT, RedirectResponse(METADATA), 502, "is a redirect, which is not followed"),
    (ABOUT, Response(b" " * 2**21), 502, "is too long"),
    (ABOUT, Response(b"no gzip", headers={"Content-Encoding": "gzip"}), 503, "does not answer"),
    ("/keys", Response("none"), 502, "is no set of keys"),
    ("/keys", JSONResponse({}), 502, "is no set of keys"),
    ("/keys", JSONResponse([]), 502, "is no set of keys"),
    ("/keys", JSONResponse({"keys": [{"kty": "RSA", "n": 1}]}), 502, "is no set of keys"),
    ("/keys", RedirectResponse(METADATA), 502, "is a redirect"),
    ("/token", Response("<html>"), 502, "is not JSON"),
    ("/token", JSONResponse({"access_token": "x"}), 502, "has no id_token"),
    ("/token", JSONResponse({"id_token": ["x"]}), 502, "cannot be read: id_token"),
    ("/token", JSONResponse({"id_token": "x"}), 401, "token is not good"),
    ("/token", JSONResponse({"error": "invalid_client"}, 401), 502, "Check NEUTRINO_OIDC_CLIENT_ID"),
    ("/token", JSONResponse({"error": "invalid_grant"}, 400), 401, "did not accept the sign-in"),
    ("/token", Response("Forbidden", 403), 502, "is not JSON"),
    ("/token", RedirectResponse(METADATA), 502, "is a redirect"),
]


def test_every_fault_of_the_provider_is_a_page_that_says_what_to_look_at(
    running: Provider, provider: Provider, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUTRINO_OIDC_ISSUER", running.issuer)
    monkeypatch.setenv("NEUTRINO_OIDC_CLIENT_ID", CLIENT)
    monkeypatch.setenv("NEUTRINO_OIDC_ROLES", "ml=viewer@vision")
    with serve(Front(database)) as url, httpx.Client(timeout=120) as browser:
        for path, answer, status, words in FAULTS:
            provider.faults = {path: answer}
            page = browser.get(f"{url}/login/oidc", follow_redirects=True)
            text = html.unescape(page.text)
            assert (page.status_code, path, words) == (status, path, words if words in text else text)
            assert "Check NEUTRINO_OIDC_" in text or status in {401, 503} or "openid" in text
            assert 'name="token"' in text  # the other way in
        provider.faults = {}
        assert browser.get(f"{url}/login/oidc", follow_redirects=True).url.path == "/"


def test_a_provider_that_says_it_is_another_or_sends_secrets_in_the_clear_is_not_believed(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUTRINO_OIDC_ISSUER", provider.issuer)
    monkeypatch.setenv("NEUTRINO_OIDC_CLIENT_ID", CLIENT)
    settings = oidc.settings()
    assert settings is not None
    ends = dict.fromkeys(("authorization_endpoint", "token_endpoint", "jwks_uri"), "http://idp.example/x")
    for issuer, words in (("http://idp.example", "says that the issuer is"), ("https://idp.example", "https://")):
        provider.faults = {ABOUT: JSONResponse({"issuer": issuer} | ends)}
        with pytest.raises(ProviderFault, match=words) as caught:
            oidc.Provider(settings).depart("http://here/")
        assert "NEUTRINO_OIDC_ISSUER" in str(caught.value)


@pytest.mark.parametrize("roles", ["ml", "ml=king", "=admin"])
def test_roles_that_mean_nothing_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, roles: str) -> None:
    monkeypatch.setenv("NEUTRINO_OIDC_ISSUER", "http://127.0.0.1:9")
    monkeypatch.setenv("NEUTRINO_OIDC_CLIENT_ID", CLIENT)
    monkeypatch.setenv("NEUTRINO_OIDC_ROLES", roles)
    with pytest.raises(NeutrinoError, match="NEUTRINO_OIDC_ROLES"):
        oidc.settings()

"""Asking an identity provider: a few seconds, a small answer, no redirects, and only what a typed model can read.

A fault of the provider, or of how we are told to reach it, is a ProviderFault: it says what came, and what to look at.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from orchestrator.domain.errors import NeutrinoError, ServerUnavailable

log = logging.getLogger(__name__)

ISSUER_HINT = "Check NEUTRINO_OIDC_ISSUER in the environment of the API; until then, sign in with a token."
CLIENT_HINT = "Check NEUTRINO_OIDC_CLIENT_ID and NEUTRINO_OIDC_CLIENT_SECRET in the environment of the API."
_TOKEN_HINT = "Try again, or sign in with a token."  # noqa: S105 - no secret
_TIMEOUT_SECONDS = 5.0
_IN_ALL_SECONDS = 10.0
_MOST_BYTES = 1024**2
_AT_ONCE = 8
"""Sign-ins that talk to the provider at once: one that hangs must not take all threads of the API."""

_turns = threading.BoundedSemaphore(_AT_ONCE)


class ProviderFault(NeutrinoError):
    """The identity provider answers something that no sign-in can be made with."""

    code = "identity_provider"
    status = 502


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Published(_Said):
    """What a provider says of itself at `/.well-known/openid-configuration`."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str

    @model_validator(mode="after")
    def _safe(self) -> Self:
        """Whoever is believed over TLS sends nobody, and no secret, anywhere without."""
        scheme = self.issuer.partition("://")[0]
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if getattr(self, name).partition("://")[0] not in {scheme, "https"}:
                raise ValueError(f"{name} does not begin with {scheme}://")
        return self


class Granted(_Said):
    """The answer to a code that is good."""

    id_token: str


class Denied(_Said):
    """The answer to one that is not (RFC 6749, section 5.2)."""

    error: str = "no reason"


class Answer:
    """What came back; `where` names it in messages."""

    def __init__(self, where: str, status: int, body: bytes) -> None:
        self.where = where
        self.status = status
        self._body = body

    def read(self, model: type[Said], hint: str) -> Said:
        """The body as the model. Raises ProviderFault."""
        try:
            return model.model_validate_json(self._body)
        except ValidationError as error:
            raise self.fault(_first(error), hint) from error

    def keys(self) -> KeySet:
        """The body as a set of keys. Raises ProviderFault."""
        try:
            return KeySet.import_key_set(httpx.Response(self.status, content=self._body).json())
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise self.fault("is no set of keys", ISSUER_HINT) from error

    def fault(self, why: str, hint: str) -> ProviderFault:
        """An error about this answer; the log has it, too, for whoever looks after the provider."""
        text = f"The identity provider's answer ({self.status}) at {self.where} {why}."
        log.warning("%s", text)
        return ProviderFault(text, hint=hint)


Said = TypeVar("Said", bound=_Said)


def _first(error: ValidationError) -> str:
    """One sentence's end about what is wrong with an answer."""
    found = error.errors(include_url=False)[0]
    name = ".".join(map(str, found["loc"]))
    if found["type"] == "json_invalid":
        return "is not JSON"
    if found["type"] == "missing":
        return f"has no {name}"
    return f"cannot be read: {name or 'it'}: {found['msg']}"


@contextmanager
def turn() -> Iterator[None]:
    """Room to talk to the provider. Raises ServerUnavailable when others fill it."""
    if not _turns.acquire(blocking=False):
        raise ServerUnavailable("Many sign-ins wait for the identity provider.", hint=_TOKEN_HINT)
    try:
        yield
    finally:
        _turns.release()


def ask(method: str, url: str, hint: str, **options: Any) -> Answer:
    """The provider's answer, of any status below 300 or from 400 to 499. Raises ServerUnavailable when there is none,
    and ProviderFault when it sends us elsewhere or says too much."""
    try:
        began = time.monotonic()
        with httpx.stream(method, url, timeout=_TIMEOUT_SECONDS, **options) as response:
            answer = Answer(url.partition("?")[0], response.status_code, b"")
            if response.is_redirect:
                raise answer.fault("is a redirect, which is not followed", hint)
            if response.is_server_error:
                raise ServerUnavailable(f"The identity provider fails ({response.status_code}).", hint=_TOKEN_HINT)
            body = b""
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _MOST_BYTES or time.monotonic() - began > _IN_ALL_SECONDS:
                    raise answer.fault("is too long", hint)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ProviderFault(f"{url} is no address of an identity provider.", hint=hint) from error
    except httpx.RequestError as error:
        log.warning("the identity provider does not answer at %s: %s", url, error)
        raise ServerUnavailable("The identity provider does not answer.", hint=hint) from error
    return Answer(answer.where, answer.status, body)

"""Signing in through an OpenID Connect provider: the authorization code flow with PKCE, and groups that become roles.

Configured by the environment (docs/how-to/dashboard.md). What the provider says is believed only when its signature,
issuer, audience, expiry and nonce are right; how it is asked is in `provider_calls`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from orchestrator.dashboard.provider_calls import (
    CLIENT_HINT,
    ISSUER_HINT,
    Denied,
    Granted,
    Published,
    ask,
    turn,
)
from orchestrator.domain.errors import AuthenticationError, NeutrinoError, PermissionDenied
from orchestrator.domain.roles import LADDER

_ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
_LEEWAY_SECONDS = 60
_KEEP_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Grant:
    """Members of `group` have `role` in `workspace`; `*` is everybody."""

    group: str
    role: str
    workspace: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach the provider, and what its groups mean here."""

    issuer: str
    client_id: str
    client_secret: str | None = field(repr=False)
    scopes: str
    groups_claim: str
    grants: tuple[Grant, ...]
    public_url: str | None


def settings() -> Settings | None:
    """The settings in the environment; None when there is no provider. Raises NeutrinoError when they are not whole."""
    issuer = os.environ.get("NEUTRINO_OIDC_ISSUER")
    if not issuer:
        return None
    client_id = os.environ.get("NEUTRINO_OIDC_CLIENT_ID")
    if not client_id:
        raise NeutrinoError("NEUTRINO_OIDC_ISSUER is set, NEUTRINO_OIDC_CLIENT_ID is not.", hint="Set both or none.")
    return Settings(
        issuer=issuer,
        client_id=client_id,
        client_secret=os.environ.get("NEUTRINO_OIDC_CLIENT_SECRET") or None,
        scopes=os.environ.get("NEUTRINO_OIDC_SCOPES") or "openid profile email",
        groups_claim=os.environ.get("NEUTRINO_OIDC_GROUPS_CLAIM") or "groups",
        grants=_grants(os.environ.get("NEUTRINO_OIDC_ROLES", "")),
        public_url=(os.environ.get("NEUTRINO_PUBLIC_URL") or "").rstrip("/") or None,
    )


def _grants(text: str) -> tuple[Grant, ...]:
    """`ml-admins=admin@vision, *=viewer` as grants; the workspace is `default` where none is named."""
    grants = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        group, equals, rest = part.rpartition("=")
        role, _, workspace = rest.partition("@")
        if not equals or not group or role not in LADDER:
            raise NeutrinoError(
                f"NEUTRINO_OIDC_ROLES has {part!r}.", hint="Write group=role or group=role@workspace, with commas."
            )
        grants.append(Grant(group, role, workspace or "default"))
    return tuple(grants)


@dataclass(frozen=True, slots=True)
class Departure:
    """What has to be remembered of somebody who goes to the provider, and where they go."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who came back, and their role in each workspace, that of the first entry that fits them first."""

    user: str
    roles: dict[str, str]


class Provider:
    """The provider of this installation. What it publishes about itself is asked for when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._known: tuple[float, Published, KeySet] | None = None

    def depart(self, redirect_uri: str) -> Departure:
        """Where to send a browser. Raises ServerUnavailable when the provider does not answer, and ProviderFault when
        what it answers is of no use."""
        with turn():
            document, _ = self._published()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.settings.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        mark = "&" if "?" in document.authorization_endpoint else "?"
        return Departure(f"{document.authorization_endpoint}{mark}{urlencode(query)}", state, nonce, verifier)

    def arrive(self, code: str, *, nonce: str, verifier: str, redirect_uri: str) -> Identity:
        """Who the code stands for. Raises AuthenticationError, PermissionDenied for somebody without a role here, and
        what `depart` does."""
        with turn():
            document, keys = self._published()
            claims = self._good(self._redeemed(document, code, verifier, redirect_uri), keys)
        if not secrets.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise AuthenticationError("The identity provider answered another sign-in.", hint="Sign in again.")
        return self._identity(claims)

    def _redeemed(self, document: Published, code: str, verifier: str, redirect_uri: str) -> str:
        """The ID token for a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self.settings.client_id,
            "code_verifier": verifier,
        }
        secret = self.settings.client_secret
        auth = (self.settings.client_id, secret) if secret else None
        answer = ask("POST", document.token_endpoint, ISSUER_HINT, data=form, auth=auth)
        if answer.status == HTTPStatus.OK:
            return answer.read(Granted, "Let the client be one of OpenID Connect, with the scope openid.").id_token
        why = answer.read(Denied, ISSUER_HINT).error
        if why == "invalid_grant":
            raise AuthenticationError("The identity provider did not accept the sign-in.", hint="Sign in again.")
        raise answer.fault(f"is {why[:100]!r}", CLIENT_HINT)

    def _good(self, token: str, keys: KeySet) -> dict[str, Any]:
        """The claims of a token that is good now. Raises AuthenticationError."""
        try:
            try:
                return self._claims(token, keys)
            except InvalidKeyIdError:  # signed with a key that is newer than what we know
                self._known = None
                return self._claims(token, self._published()[1])
        except (JoseError, ValueError, TypeError) as error:
            raise AuthenticationError(f"The identity provider's token is not good: {error}.") from error

    def _claims(self, token: str, keys: KeySet) -> dict[str, Any]:
        rules = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": self.settings.issuer},
            aud={"essential": True, "value": self.settings.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        )
        claims = jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
        rules.validate(claims)
        audiences = claims["aud"]
        several = isinstance(audiences, list) and len(audiences) > 1
        if (several or "azp" in claims) and claims.get("azp") != self.settings.client_id:
            raise AuthenticationError("The identity provider's token is for another application.")
        return claims

    def _identity(self, claims: dict[str, Any]) -> Identity:
        verified = claims.get("email") if claims.get("email_verified") in (True, "true") else None  # some send text
        user = "".join(char for char in str(verified or claims["sub"]) if char.isprintable())[:128]
        said = claims.get(self.settings.groups_claim)
        groups = {said} if isinstance(said, str) else set(map(str, said)) if isinstance(said, list) else set()
        if not user.strip():
            raise AuthenticationError("The identity provider does not say who this is.", hint="Sign in again.")
        held = [grant for grant in self.settings.grants if grant.group == "*" or grant.group in groups]
        if not held:
            raise PermissionDenied(f"{user} has no role here.", hint="Ask an admin to grant one to a group of yours.")
        roles: dict[str, str] = {}
        for grant in held:
            roles[grant.workspace] = max(grant.role, roles.get(grant.workspace, LADDER[0]), key=LADDER.index)
        return Identity(user, roles)

    def _published(self) -> tuple[Published, KeySet]:
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > _KEEP_SECONDS:
                issuer = self.settings.issuer
                answer = ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration", ISSUER_HINT)
                document = answer.read(Published, ISSUER_HINT)
                if document.issuer != issuer:
                    raise answer.fault(
                        f"says that the issuer is {document.issuer[:200]!r}, not {issuer!r}", ISSUER_HINT
                    )
                keys = ask("GET", document.jwks_uri, ISSUER_HINT).keys()
                self._known = (time.monotonic(), document, keys)
            return self._known[1], self._known[2]

"""A small OpenID Connect provider over HTTP: it signs in whoever comes, as the person it was told to be."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT, SECRET = "neutrino-tests", "of-the-client"


class Provider:
    """What it will say of the next person: `claims` over the honest ones; `key` signs. `faults` are answers that come
    instead of what is at a path."""

    def __init__(self) -> None:
        self.issuer = ""
        self.claims: dict[str, Any] = {}
        self.faults: dict[str, Response] = {}
        self.key = self.published = RSAKey.generate_key(2048, parameters={"kid": "first"})
        self._codes: dict[str, dict[str, str]] = {}

    def app(self) -> FastAPI:
        """Its four pages."""
        app = FastAPI()

        @app.middleware("http")
        async def fail(request: Request, serve: Callable[[Request], Awaitable[Response]]) -> Response:
            fault = self.faults.get(request.url.path)
            return await serve(request) if fault is None else fault

        app.get("/.well-known/openid-configuration")(self._about)
        app.get("/keys")(lambda: KeySet([self.published]).as_dict(private=False))
        app.get("/authorize")(self._authorize)
        app.post("/token", response_model=None)(self._token)
        return app

    def _about(self) -> dict[str, str]:
        ends = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {"issuer": self.issuer} | {name: f"{self.issuer}/{path}" for name, path in ends.items()}

    def _authorize(
        self,
        response_type: str,
        client_id: str,
        redirect_uri: str,
        state: str,
        nonce: str,
        code_challenge: str,
        code_challenge_method: str,
    ) -> Response:
        assert (response_type, client_id, code_challenge_method) == ("code", CLIENT, "S256")
        code = secrets.token_urlsafe(8)
        self._codes[code] = {"nonce": nonce, "challenge": code_challenge, "redirect_uri": redirect_uri}
        return RedirectResponse(f"{redirect_uri}?{urlencode({'code': code, 'state': state})}", status_code=302)

    def _token(
        self,
        code: Annotated[str, Form()],
        redirect_uri: Annotated[str, Form()],
        code_verifier: Annotated[str, Form()],
    ) -> Response:
        known = self._codes.pop(code, None)
        digest = hashlib.sha256(code_verifier.encode()).digest()
        proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if known is None or (known["challenge"], known["redirect_uri"]) != (proof, redirect_uri):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "1",
            "email": "ada@example.org",
            "email_verified": True,
            "iat": now,
            "exp": now + 60,
        }
        claims |= {"nonce": known["nonce"], "groups": ["ml"]} | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "kid": self.key.kid}
        return JSONResponse({"id_token": jwt.encode(header, claims, self.key), "token_type": "Bearer"})

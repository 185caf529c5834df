"""Kubernetes' API in plain JSON, over the official client's connection, TLS and credentials.

The client's models are not used: a list of 500 pods costs a tenth of the memory as the dictionaries that were sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException

from cloud_adapters.cluster.kubeconfig import ended
from cloud_adapters.compute_errors import (
    ComputeDenied,
    ComputeError,
    ComputeUnavailable,
    Outdated,
    OverQuota,
    WorkExists,
    WorkNotFound,
    WorkRefused,
)

STRATEGIC = "application/strategic-merge-patch+json"
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 20.0
_PAGE = 500

Query = Mapping[str, str | int]

_BY_STATUS: dict[int, type[ComputeError]] = {
    400: WorkRefused,
    401: ComputeDenied,
    403: ComputeDenied,
    404: WorkNotFound,
    409: WorkExists,
    410: Outdated,
    422: WorkRefused,
}


class KubeApi:
    """Calls one API server. Every method raises the errors of `cloud_adapters.compute_errors`; none tries again."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self.host: str = client.configuration.host

    def call(
        self, method: str, path: str, body: Any = None, query: Query | None = None, kind: str = "application/json"
    ) -> Any:
        """One request; the decoded answer."""
        response = self._send(method, path, body, query, kind, _READ_SECONDS)
        try:
            data = response.data
        except urllib3.exceptions.HTTPError as error:
            raise _unavailable(self.host, error) from error
        try:
            return json.loads(data)
        except ValueError as error:
            raise ComputeUnavailable(
                f"What answers at {self.host} is not a Kubernetes API: {_excerpt(data)}",
                hint="The address may be that of a proxy, of a page to sign in, or of another service.",
            ) from error

    def text(self, path: str, query: Query | None = None) -> str:
        """A GET that answers with text, such as a log."""
        response = self._send("GET", path, None, query, "application/json", _READ_SECONDS)
        return bytes(response.data).decode("utf-8", "replace")

    def items(self, path: str, query: Query | None = None) -> tuple[list[dict[str, Any]], str]:
        """All objects of a list, page by page, and the resource version at which they were so."""
        found: list[dict[str, Any]] = []
        more: dict[str, str | int] = {"limit": _PAGE, **(query or {})}
        while True:
            page = self.call("GET", path, query=more)
            found += page["items"]
            if not (token := page["metadata"].get("continue")):
                return found, page["metadata"]["resourceVersion"]
            more["continue"] = token

    def events(self, path: str, query: Query, silence: float) -> Iterator[dict[str, Any]]:
        """The events of a watch, until the server ends it. `silence` seconds without a byte end it with an error."""
        response = self._send("GET", path, None, {**query, "watch": "true"}, "application/json", silence)
        try:
            rest = b""
            for chunk in response.stream(amt=None if response.chunked else 65536, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield json.loads(line)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unavailable(self.host, error) from error
        finally:
            response.close()

    def _send(self, method: str, path: str, body: Any, query: Query | None, kind: str, silence: float) -> Any:
        try:
            return self._client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": kind},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=(_CONNECT_SECONDS, silence),
            )
        except ApiException as error:
            raise _refusal(self._client.configuration, error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unavailable(self.host, error) from error
        except AttributeError as error:  # the client looks for a body in its own error, which has none without TLS
            if not isinstance(error.__context__, ApiException):
                raise
            raise _untrusted(self.host, error.__context__) from error


def _excerpt(data: bytes) -> str:
    return repr(data[:120].decode("utf-8", "replace"))


_OTHER_CLUSTER = "The certificate authority in the kubeconfig may be another cluster's, or an old one."
_OWN_CERTIFICATE = "It may want a client certificate: the kubeconfig has none, an old one, or another cluster's."
_OF_TLS = {
    "certificate has expired": "The certificate of the API server itself has ended: renew it on the cluster.",
    "mismatch, certificate is not valid for": "Its certificate names other addresses: use one of those in the"
    " kubeconfig, or set tls-server-name there.",
    "wrong version number": "No TLS is spoken at that address: it is another service's, or its port is wrong.",
    "EOF occurred": _OWN_CERTIFICATE,
    "alert": _OWN_CERTIFICATE,
    "key values mismatch": "In the kubeconfig, client-key does not belong to client-certificate.",
    "no certificate or crl found": "The certificate authority in the kubeconfig is no certificate in PEM.",
    "PEM lib": "The client certificate or its key in the kubeconfig is not PEM.",
}


def _untrusted(host: str, error: ApiException) -> ComputeUnavailable:
    words = " ".join(str(error.reason).split())
    hint = next((fix for told, fix in _OF_TLS.items() if told in words), _OTHER_CLUSTER)
    return ComputeUnavailable(f"No connection to the API server {host} can be trusted: {words}", hint=hint)


def _unavailable(host: str, error: Exception) -> ComputeUnavailable:
    reason = getattr(error, "reason", None) or error
    return ComputeUnavailable(f"The API server {host} cannot be reached: {str(reason).rstrip('.')}.")


def _refusal(settings: Configuration, error: ApiException) -> ComputeError:
    """What the server said, in its own words where it gave any."""
    try:
        status = json.loads(error.body)
        words = str(status.get("message") or error.reason)
    except (TypeError, ValueError, AttributeError):
        words = f"{error.reason} {_excerpt(error.body) if isinstance(error.body, bytes) else ''}".strip()
    kind = _BY_STATUS.get(error.status)
    if error.status == 403 and "exceeded quota" in words:  # the words of the ResourceQuota admission plugin
        kind = OverQuota
    if error.status == 401:
        end = ended(settings)
        since = f" They ended at {end:%Y-%m-%d %H:%M} UTC." if end else ""
        why = "Renew them." if end else "They may have expired, or belong to another cluster: renew them."
        return ComputeDenied(
            f"The API server {settings.host} does not know these credentials: {words}.{since}",
            hint=f"{why} `neutrino cluster check` looks again.",
        )
    if kind is None:
        kind = ComputeUnavailable if error.status in {0, 408, 429} or error.status >= 500 else ComputeError
    return kind(f"Kubernetes says: {words}")

"""Questions about a managed cluster to the API of the provider that manages it."""

from __future__ import annotations

from typing import Any

import httpx

from cloud_adapters.compute_errors import BadReference, ComputeDenied, ComputeUnavailable

_SECONDS = 15.0


def ask(provider: str, where: str, method: str, url: str, token: str, *, listing: str, needs: str) -> Any:
    """What the API answers. `listing` is the command that shows the clusters there are, `needs` says what the identity
    must be allowed. Raises BadReference, ComputeDenied and ComputeUnavailable."""
    try:
        answer = httpx.request(method, url, headers={"Authorization": f"Bearer {token}"}, timeout=_SECONDS)
    except httpx.HTTPError as error:
        raise ComputeUnavailable(f"{provider} cannot be asked: {error}.") from error
    if answer.status_code == 404:
        raise BadReference(f"{provider} has no cluster {where}.", hint=f"`{listing}` shows them.")
    if answer.status_code >= 500 or answer.status_code == 429:
        raise ComputeUnavailable(f"{provider} answers {answer.status_code} for {where}.")
    if answer.status_code != 200:
        raise ComputeDenied(f"{provider} answers {answer.status_code} for {where}.", hint=needs)
    return answer.json()

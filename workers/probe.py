"""What `neutrino cluster check` runs in a pod: `python -m workers.probe`. Tries what the pods of jobs will need, and
leaves what it found as JSON where Kubernetes shows it."""

from __future__ import annotations

import json
import os
import sys
import urllib.request

from cloud_adapters.registry import open_store
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.pods import Check
from workers import last_words

_SECONDS = 15.0
_LONGEST = 700  # a termination message has 4096 bytes in all


def _api(url: str) -> Check:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/readyz", timeout=_SECONDS):  # noqa: S310 - our own setting
            return Check(name="way to the API", ok=True, detail=f"{url} answers.")
    except (OSError, ValueError) as error:
        fix = "Set NEUTRINO_POD_API_URL to an address that pods can reach, and let egress to it pass."
        return Check(name="way to the API", ok=False, detail=f"{url}: {error}"[:_LONGEST], fix=fix)


def _store(uri: str) -> Check:
    try:
        open_store(uri).list_page(limit=1)
    except (NeutrinoError, OSError) as error:
        fix = "Let egress to it pass, and give the pods' service account an identity that may read and write it."
        return Check(name="way to the store", ok=False, detail=f"{uri}: {error}"[:_LONGEST], fix=fix)
    return Check(name="way to the store", ok=True, detail=f"{uri} answers.")


def main() -> int:
    """Try both ways. Returns 0 when both are open."""
    checks = [_api(os.environ["NEUTRINO_API_URL"])]
    if store := os.environ.get("NEUTRINO_PROBE_STORE"):
        checks.append(_store(store))
    text = json.dumps([check.model_dump(mode="json") for check in checks])
    last_words.leave(text)
    sys.stdout.write(f"{text}\n")
    return 0 if all(check.ok for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())

"""What `neutrino cluster check` runs in a pod: `python -m workers.probe`. Tries what the pods of jobs will need, and
leaves what it found as JSON where Kubernetes shows it."""

from __future__ import annotations

import json
import os
import secrets
import sys
import urllib.request

from cloud_adapters.base import join_key
from cloud_adapters.errors import TransientStoreError
from cloud_adapters.registry import open_store
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.pods import Check
from workers import last_words

_SECONDS = 15.0
_BYTES = b"neutrino cluster check"
_WORKSPACES = 16
_STORE_FIX = (
    "Let egress to it pass, and give the pods' service account an identity that may list, write, read and delete all"
    " below `artifacts/`; folders of a volume have to belong to the group 10001."
)
_LONGEST = 700  # a termination message has 4096 bytes in all


def _api(url: str) -> Check:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/readyz", timeout=_SECONDS):  # noqa: S310 - our own setting
            return Check(name="way to the API", ok=True, detail=f"{url} answers.")
    except (OSError, ValueError) as error:
        fix = "Set NEUTRINO_POD_API_URL to an address that pods can reach, and let egress to it pass."
        return Check(name="way to the API", ok=False, detail=f"{url}: {error}"[:_LONGEST], fix=fix)


def _store(uri: str) -> Check:
    """Do in the store what jobs do there: below `artifacts/`, and below the folder of each workspace that is seen."""
    done = "listed"
    try:
        store = open_store(uri)
        below = [one.key.split("/") for one in store.list_page("artifacts/").objects]
        seen = {path[1] for path in below if len(path) > 2}
        for workspace in ["", *sorted(seen)[:_WORKSPACES]]:
            key = join_key("artifacts", workspace, f"check-{secrets.token_hex(8)}", "probe")
            done = f"written, as {key}"
            store.put(key, _BYTES, create_only=True)
            done = f"read again, as {key}"
            with store.open(key) as reader:
                read = bytearray(len(_BYTES))
                if reader.readinto(memoryview(read)) != len(_BYTES) or bytes(read) != _BYTES:
                    raise TransientStoreError("other bytes came back")
            done = f"deleted, as {key}"
            store.delete(key)
    except (NeutrinoError, OSError) as error:
        text = f"{uri} cannot be {done}: {error}"
        return Check(name="way to the store", ok=False, detail=text[:_LONGEST], fix=_STORE_FIX)
    return Check(name="way to the store", ok=True, detail=f"{uri} can be listed, written, read and deleted.")


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

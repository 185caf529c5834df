"""`python -m workers.ready` returns as soon as the API at NEUTRINO_API_URL knows the token NEUTRINO_TOKEN.

What starts workers runs it before them: right after an installation the API may not be there yet, or its first tokens.
"""

from __future__ import annotations

import os
import sys
import time

from orchestrator.domain.errors import NeutrinoError
from workers.api import Api
from workers.settings import API_URL_HINT, TOKEN_HINT, required

_PAUSE_SECONDS = 1.0


def _fault(api: Api) -> str | None:
    """What is still missing, as a sentence."""
    try:
        return None if api.knows_me() else "The API does not know this token yet."
    except NeutrinoError as error:
        if not error.retryable:
            raise
        return str(error)


def main() -> None:
    """Wait, and say for what."""
    told = None
    try:
        url = required(os.environ, "NEUTRINO_API_URL", API_URL_HINT)
        api = Api(url, required(os.environ, "NEUTRINO_TOKEN", TOKEN_HINT))
        while fault := _fault(api):
            if fault != told:
                sys.stderr.write(f"{fault}\n")
                told = fault
            time.sleep(_PAUSE_SECONDS)
    except NeutrinoError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

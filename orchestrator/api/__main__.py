"""`python -m orchestrator.api` serves the API and the dashboard on NEUTRINO_BIND (default 127.0.0.1:8470)."""

from __future__ import annotations

from orchestrator.server import main

if __name__ == "__main__":
    main()

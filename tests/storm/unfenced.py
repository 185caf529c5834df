"""The API with its fence switched off: every attempt is taken for one that holds its lease. Only for proving that the
oracle sees what the fence prevents."""

from __future__ import annotations

from orchestrator.store import fence


def main() -> None:
    """Serve like `orchestrator.api`, without the fence."""
    fence._HOLD = fence._HOLD.replace(fence.LIVE, "true")
    from orchestrator.server import main as serve

    serve()


if __name__ == "__main__":
    main()

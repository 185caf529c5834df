"""`python -m orchestrator.scheduler` runs one replica on DATABASE_URL and REDIS_URL."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from orchestrator import logs, metrics, settings, traces
from orchestrator.domain.errors import NeutrinoError
from orchestrator.scheduler.bells import Bells
from orchestrator.scheduler.janitor import Janitor
from orchestrator.scheduler.loop import Scheduler
from orchestrator.scheduler.postman import Postman
from orchestrator.store.session import Database


def main() -> None:
    """Work until SIGTERM or SIGINT."""
    logs.configure("scheduler")
    try:
        settings.current()
        metrics.serve()
        traces.configure("scheduler")
        bells = Bells()
        database = Database.from_env(pool_size=2, application="neutrino-scheduler")
        scheduler, postman = Scheduler(database, bells), Postman(database)
        janitor = Janitor(Database.from_env(pool_size=2, application="neutrino-janitor"))
    except NeutrinoError as error:
        sys.exit(str(error))

    def stop(_signal: int, _frame: FrameType | None) -> None:
        scheduler.stop.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    bells.start()
    janitor.start()
    postman.start()
    scheduler.run()
    postman.stop()
    janitor.stop()
    bells.stop()


if __name__ == "__main__":
    main()

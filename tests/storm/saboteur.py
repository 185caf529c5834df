"""Carries the plan out."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import httpx
import psutil
import redis
from kombu.exceptions import OperationalError

from orchestrator.broker import Doorbell, celery_app
from orchestrator.embedded.stack import POOL, Stack
from tests.storm import processes
from tests.storm.plan import Fault, Kind

_BELLS = 50


class Saboteur:
    """Strikes at a stack that this process runs. `done` and `missed` count what hit, and what found nobody to hit."""

    def __init__(self, stack: Stack, lease_seconds: float) -> None:
        self._stack = stack
        headers = {"Authorization": f"Bearer {stack.admin_token}"}
        self._http = httpx.Client(base_url=stack.url, headers=headers, timeout=1.0, trust_env=False)
        self._lease = lease_seconds
        self._alarms: list[threading.Timer] = []  # each wakes one that was stopped, whatever else hangs meanwhile
        self.done: Counter[Kind] = Counter()
        self.missed: Counter[Kind] = Counter()
        self._acts: dict[Kind, Callable[[Fault], bool]] = {
            Kind.KILL_WORKER: lambda fault: self._kill(self._service("worker", fault)),
            Kind.STOP_WORKER: lambda fault: self._stop(self._service("worker", fault), fault),
            Kind.PAUSE_WORKER: lambda fault: self._stop(self._service("worker", fault), fault),
            Kind.KILL_ZYGOTE: lambda fault: self._kill(self._zygote(fault)),
            Kind.STOP_ZYGOTE: lambda fault: self._stop(self._zygote(fault), fault),
            Kind.KILL_CHILD: lambda fault: self._kill(self._child(fault)),
            Kind.STOP_CHILD: lambda fault: self._stop(self._child(fault), fault),
            Kind.DRAIN_WORKER: self._drain,
            Kind.RETIRE_WORKER: self._retire,
            Kind.KILL_SCHEDULER: lambda fault: self._kill(self._service("scheduler", fault)),
            Kind.KILL_SCHEDULERS: self._kill_schedulers,
            Kind.STOP_SCHEDULER: lambda fault: self._stop(self._service("scheduler", fault), fault),
            Kind.KILL_API: lambda fault: self._kill(self._service("api", fault)),
            Kind.STOP_API: lambda fault: self._stop(self._service("api", fault), fault),
            Kind.KILL_POSTGRES: lambda fault: self._kill(self._service("postgres", fault)),
            Kind.KILL_BACKEND: lambda fault: self._kill(self._backend(fault)),
            Kind.KILL_REDIS: lambda fault: self._kill(self._service("redis", fault)),
            Kind.STOP_REDIS: lambda fault: self._stop(self._service("redis", fault), fault),
            Kind.FLUSH_REDIS: self._flush,
            Kind.RING_OFTEN: self._ring,
        }

    def carry_out(self, faults: Sequence[Fault], seconds: float) -> None:
        """Strike at the planned times, and let go of everything at the end."""
        began = time.monotonic()
        for fault in faults:
            time.sleep(max(0.0, began + fault.at - time.monotonic()))
            hit = self._acts[fault.kind](fault)
            (self.done if hit else self.missed)[fault.kind] += 1
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        for alarm in self._alarms:
            alarm.join()
        self._http.close()

    def _service(self, prefix: str, fault: Fault) -> int | None:
        names = processes.services(self._stack, prefix)
        return processes.service(self._stack, names[fault.victim % len(names)])

    def _zygote(self, fault: Fault) -> int | None:
        worker = self._service("worker", fault)
        return None if worker is None else processes.zygote(worker)

    def _child(self, fault: Fault) -> int | None:
        workers = [processes.service(self._stack, name) for name in processes.services(self._stack, "worker")]
        found = [leader for worker in workers if worker is not None for leader in processes.leaders(worker)]
        return found[fault.victim % len(found)] if found else None

    def _backend(self, fault: Fault) -> int | None:
        postmaster = self._service("postgres", fault)
        try:
            children = [] if postmaster is None else psutil.Process(postmaster).children()
            sessions = [one.pid for one in children if "neutrino" in " ".join(one.cmdline())]
        except psutil.NoSuchProcess:
            return None
        return sessions[fault.victim % len(sessions)] if sessions else None

    def _kill(self, pid: int | None) -> bool:
        return pid is not None and processes.send(pid, signal.SIGKILL)

    def _stop(self, pid: int | None, fault: Fault) -> bool:
        if pid is None:
            return False
        try:
            process = psutil.Process(pid)
        except psutil.NoSuchProcess:
            return False
        if not _signal(process, signal.SIGSTOP):
            return False
        alarm = threading.Timer(fault.leases * self._lease, _signal, (process, signal.SIGCONT))
        alarm.start()
        self._alarms.append(alarm)
        return True

    def _kill_schedulers(self, _fault: Fault) -> bool:
        names = processes.services(self._stack, "scheduler")
        hit = [
            self._kill(processes.service(self._stack, name)) for name in names
        ]  # each of them, whatever the others do
        return all(hit)

    def _drain(self, fault: Fault) -> bool:
        pid = self._service("worker", fault)
        return pid is not None and processes.send(pid, signal.SIGTERM)

    def _retire(self, fault: Fault) -> bool:
        try:  # without the SDK, which would try for long while faults wait
            workers = self._http.get("/v1/workers").raise_for_status().json()["items"]
            worker = workers[fault.victim % len(workers)]["id"]
            self._http.post(f"/v1/workers/{worker}/drain").raise_for_status()
        except (httpx.HTTPError, ZeroDivisionError):  # the API is away, or there is no worker
            return False
        return True

    def _flush(self, _fault: Fault) -> bool:
        try:
            with redis.Redis.from_url(self._stack.redis_url, socket_timeout=1) as connection:
                return bool(connection.flushall())
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            return False

    def _ring(self, _fault: Fault) -> bool:
        try:
            doorbell = Doorbell(celery_app(self._stack.redis_url))
            doorbell.ring_pool(POOL, (), times=_BELLS)
            doorbell.close()
        except (OperationalError, redis.exceptions.RedisError, OSError):
            return False
        return True


def _signal(process: psutil.Process, number: signal.Signals) -> bool:
    # psutil compares the start time first, so that nobody else is hit.
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True

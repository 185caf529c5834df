"""The peer: bare Celery with a no-op task on the same Redis, as fast as Celery's own documentation would set it up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery
from redis import Redis

_DONE = "bench:done"
_STARTED = "bench:started"

app = Celery("bench", broker=os.environ.get("BENCH_REDIS_URL"))
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=4, worker_send_task_events=False)
_redis = Redis.from_url(os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:1/0"))


@app.task(name="bench.noop")  # type: ignore[untyped-decorator]
def noop() -> None:
    """Do nothing but be counted: without a result there is no other way to know that it is done."""
    _redis.incr(_DONE)


@app.task(name="bench.stamp")  # type: ignore[untyped-decorator]
def stamp() -> None:
    """Tell when it began."""
    _redis.rpush(_STARTED, time.time())


@contextmanager
def worker(redis_url: str, concurrency: int) -> Iterator[None]:
    """A Celery worker with prefork processes, up and warm."""
    env = os.environ | {"BENCH_REDIS_URL": redis_url}
    command = [sys.executable, "-m", "celery", "-A", "bench.peer", "worker", "-c", str(concurrency), "-l", "ERROR"]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            throughput(redis_url, 50)
            yield
        finally:
            process.terminate()


def _sender(redis_url: str) -> Celery:
    sender = Celery("sender", broker=redis_url, set_as_current=False)
    sender.conf.task_ignore_result = True
    return sender


def throughput(redis_url: str, count: int) -> float:
    """Tasks per second from the first send to the last task's end."""
    sender = _sender(redis_url)
    with Redis.from_url(redis_url) as redis, sender.connection_for_write() as connection:
        redis.delete(_DONE)
        producer = sender.amqp.Producer(connection)
        began = time.perf_counter()
        for _ in range(count):
            sender.send_task("bench.noop", producer=producer)
        while int(redis.get(_DONE) or 0) < count:
            time.sleep(0.002)
        return count / (time.perf_counter() - began)


def latencies(redis_url: str, count: int) -> list[float]:
    """Seconds from sending a task to its start, one at a time on an idle system."""
    sender = _sender(redis_url)
    found = []
    with Redis.from_url(redis_url) as redis, sender.connection_for_write() as connection:
        redis.delete(_STARTED)
        producer = sender.amqp.Producer(connection)
        for _ in range(count):
            sent = time.time()
            sender.send_task("bench.stamp", producer=producer)
            found.append(float(redis.blpop([_STARTED], timeout=30)[1]) - sent)
    return found

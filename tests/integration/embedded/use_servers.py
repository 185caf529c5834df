"""Postgres and Redis through a whole life: first start, data, kill -9, data still there. For another user to run."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psycopg
from redis import Redis as RedisClient

from orchestrator.embedded.postgres import Postgres
from orchestrator.embedded.redis import Redis
from orchestrator.embedded.server import Server

home = Path(sys.argv[1])


def kill(server: Server) -> None:
    """kill -9, and wait for the next life."""
    first = server.running_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    while server.running_pid in {None, first} or not server.answers():
        time.sleep(0.01)


with Postgres(home / "postgres") as postgres, Redis(home / "redis") as redis:
    address = postgres.url.replace("+psycopg", "", 1)
    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE kept (x int)")
        connection.execute("INSERT INTO kept VALUES (1)")
    kill(postgres)
    with psycopg.connect(address) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        print(f"postgres kept {row and row[0]} row")  # noqa: T201
    with RedisClient.from_url(redis.url) as client:
        client.set("kept", "1")

    kill(redis)
    with RedisClient.from_url(redis.url) as client:
        print(f"redis kept {client.dbsize()} key")  # noqa: T201

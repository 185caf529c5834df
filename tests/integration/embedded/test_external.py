"""Servers of the user's own: what is wrong with their addresses, in one sentence and with a fix."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from orchestrator.domain.errors import InvalidSpec, NeutrinoError, ServerUnavailable
from orchestrator.embedded import external


def test_servers_that_answer_are_taken(database_url: str, redis_url: str) -> None:
    external.require("DATABASE_URL", database_url)
    external.require("DATABASE_URL", database_url.replace("+psycopg", ""))
    external.require("REDIS_URL", redis_url)


def test_a_wrong_password_is_told_and_not_quoted(database_url: str) -> None:
    wrong = make_url(database_url).set(password="s3cret").render_as_string(hide_password=False)
    with pytest.raises(ServerUnavailable, match="password authentication failed") as caught:
        external.require("DATABASE_URL", wrong)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "url", "error", "words"),
    [
        ("DATABASE_URL", "postgresql://a:s3cret@127.0.0.1:1/b", ServerUnavailable, "at 127.0.0.1:1 cannot be used"),
        ("DATABASE_URL", "postgresql://127.0.0.1:1/b?nonsense=1", ServerUnavailable, "nonsense"),
        ("DATABASE_URL", "mysql://a@127.0.0.1/b", InvalidSpec, "not the address of a Postgres"),
        ("DATABASE_URL", "postgresql://a@127.0.0.1:port/b", InvalidSpec, "not the address of a Postgres"),
        ("DATABASE_URL", "postgresql://[::1/b", InvalidSpec, "not the address of a Postgres"),
        ("REDIS_URL", "redis://:s3cret@127.0.0.1:1/0", ServerUnavailable, "at 127.0.0.1:1 cannot be used"),
        ("REDIS_URL", "127.0.0.1:6379", InvalidSpec, "not the address of a Redis"),
    ],
)
def test_a_wrong_address_is_refused(variable: str, url: str, error: type[NeutrinoError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        external.require(variable, url)
    assert f"unset {variable}" in str(caught.value.hint)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in caught.value.message

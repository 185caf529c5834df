"""Only what can pass is tried again, and an answer that got lost does not turn success into failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloud_adapters.addresses import parse_store_uri
from cloud_adapters.errors import (
    AccessDenied,
    CorruptObject,
    ObjectNotFound,
    PreconditionFailed,
    Throttled,
    TransientStoreError,
)
from cloud_adapters.faults import error_from_body, store_error
from cloud_adapters.providers.local import LocalStore, open_local
from cloud_adapters.retry import Retry
from cloud_adapters.retrying import RetryingStore

QUICK = Retry(attempts=4, base_s=0.0001, cap_s=0.001)


class Flaky:
    """A folder that loses its first answers: what was asked is done, and the caller hears of a broken connection."""

    def __init__(self, inner: LocalStore, lost: int) -> None:
        self._inner = inner
        self.lost = lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put(self, *args: Any, **kwargs: Any) -> Any:
        result = self._inner.put(*args, **kwargs)
        if self.lost:
            self.lost -= 1
            raise TransientStoreError("the answer was lost")
        return result


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    return open_local(parse_store_uri(tmp_path.as_uri(), file_roots=(tmp_path,)))


def test_a_create_whose_answer_was_lost_is_recognised(folder: LocalStore) -> None:
    store = RetryingStore(Flaky(folder, lost=2), QUICK)
    assert store.put("once", b"mine", create_only=True).size == 4


def test_a_create_that_somebody_else_won_is_no_success(folder: LocalStore) -> None:
    folder.put("once", b"hers")
    store = RetryingStore(Flaky(folder, lost=1), QUICK)
    with pytest.raises(PreconditionFailed):
        store.put("once", b"mine", create_only=True)


def test_an_upload_that_somebody_else_finished_is_no_success(folder: LocalStore) -> None:
    """The first answer was lost, the upload is gone, and what lies there has the right size: it is read."""
    mine, hers = folder.start_upload("key", part_size=4), folder.start_upload("hers", part_size=4)
    mine_sent, hers_sent = folder.put_part(mine, 1, b"mine"), folder.put_part(hers, 1, b"hers")
    asked = []

    class Lost(Flaky):
        def finish_upload(self, *args: Any, **kwargs: Any) -> Any:
            asked.append(args)
            if len(asked) == 1:
                raise TransientStoreError("the answer was lost")
            raise ObjectNotFound("there is no such upload")

    store = RetryingStore(Lost(folder, lost=0), QUICK)
    folder.put("key", b"hers")
    with pytest.raises(ObjectNotFound):
        store.finish_upload(mine, [mine_sent])
    asked.clear()
    folder.put("hers", b"hers")
    assert store.finish_upload(hers, [hers_sent]).size == 4


@pytest.mark.parametrize(
    ("error", "calls"),
    [(Throttled("x"), 4), (TransientStoreError("x"), 4), (AccessDenied("x"), 1), (CorruptObject("x"), 1)],
)
def test_attempts(error: Exception, calls: int) -> None:
    made = []

    def operation() -> None:
        made.append(1)
        raise error

    with pytest.raises(type(error)):
        QUICK.call(operation)
    assert len(made) == calls


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", Throttled),
        (429, "", Throttled),
        (500, "", TransientStoreError),
        (599, "", TransientStoreError),
        (403, "AccessDenied", AccessDenied),
        (400, "BadDigest", CorruptObject),
        (412, "", PreconditionFailed),
    ],
)
def test_answers_become_errors(status: int, code: str, kind: type[Exception]) -> None:
    assert type(store_error("key", status, code)) is kind
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>why</Message></Error>".encode()
    assert type(error_from_body("key", status, {}, body)) is kind


def test_advice_on_when_to_come_back_is_kept() -> None:
    assert store_error("key", 503, "SlowDown", "", "7").details["retry_after"] == 7.0
    assert type(error_from_body("key", 403, {}, b'{"error": {"message": "no"}}')) is AccessDenied

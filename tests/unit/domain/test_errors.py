"""Errors keep their class, words and details on the way over the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cloud_adapters import errors as store_errors
from orchestrator.domain import errors
from orchestrator.domain.errors import (
    CapacityError,
    Conflict,
    FieldError,
    InvalidSpec,
    JobFailed,
    LeaseLost,
    NeutrinoError,
    NotFound,
    RateLimited,
    ServerError,
    ServerUnavailable,
    from_problem,
    nearest,
)
from orchestrator.domain.location import dotted


def _named_in(*modules: object) -> Iterator[type[NeutrinoError]]:
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, NeutrinoError) and value is not NeutrinoError:
                yield value


ALL = sorted(set(_named_in(errors, store_errors)), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_error_survives_the_way_through_its_problem_document(cls: type[NeutrinoError]) -> None:
    sent = cls("It broke.", hint="Mend it.", request_id="r-1", extra={"a": [1]})
    wire = json.loads(json.dumps(sent.to_problem()))
    received = from_problem(wire, status=cls.status)
    assert type(received) is cls
    assert (received.message, received.hint, received.request_id) == ("It broke.", "Mend it.", "r-1")
    assert received.details == {"extra": {"a": [1]}}
    assert wire["status"] == cls.status
    assert wire["type"] == f"urn:neutrino:error:{cls.code}"
    assert wire["retryable"] is cls.retryable


def test_no_two_errors_share_a_code() -> None:
    codes = [cls.code for cls in ALL]
    assert sorted(codes) == sorted(set(codes))


def test_field_errors_survive_with_their_place_in_the_text() -> None:
    fault = FieldError("spec.files[0].path", "is wrong", "Mend it.", line=3, column=7)
    received = from_problem(InvalidSpec.of([fault]).to_problem(), status=422)
    assert isinstance(received, InvalidSpec)
    assert received.errors == [fault]
    assert str(fault) == "spec.files[0].path (line 3, column 7): is wrong. Mend it."


def test_the_message_of_many_faults_quotes_the_first_three() -> None:
    error = InvalidSpec.of([FieldError(f"spec.f{n}", "is wrong") for n in range(5)])
    assert error.message == "spec.f0: is wrong; spec.f1: is wrong; spec.f2: is wrong (and 2 more)"
    assert len(error.errors) == 5


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (404, NotFound),
        (409, Conflict),
        (422, InvalidSpec),
        (500, ServerError),
        (502, ServerUnavailable),
        (418, ServerError),
    ],
)
def test_an_answer_of_an_unknown_code_falls_back_to_its_status(status: int, cls: type[NeutrinoError]) -> None:
    assert type(from_problem({"code": "from_the_future"}, status=status)) is cls
    assert from_problem({}, status=status).message == f"The API answered {status}."


def test_a_lost_lease_is_a_conflict_of_its_own() -> None:
    assert isinstance(from_problem(LeaseLost("gone").to_problem(), status=409), LeaseLost)


def test_details_are_readable_as_attributes() -> None:
    failed = JobFailed("no", reason="oom", exit_code=137, log_tail=["a"])
    assert (failed.reason, failed.job_exit_code, failed.log_tail) == ("oom", 137, ["a"])
    assert RateLimited("slow", retry_after="1.5").retry_after == 1.5
    assert RateLimited("slow").retry_after is None
    assert NotFound("no", suggestions=["a"]).suggestions == ["a"]
    assert CapacityError("no", attempts=[1]).attempts == [1]


def test_the_hint_follows_the_message() -> None:
    assert str(NotFound("There is no job.", hint="Look.")) == "There is no job. Look."
    assert str(NotFound("There is no job.")) == "There is no job."


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("spec",), "spec"),
        (("spec", "files", 0, "path"), "spec.files[0].path"),
        ((0, "a"), "[0].a"),
        (("a", 0, 1), "a[0][1]"),
    ],
)
def test_paths_are_written_with_dots_and_brackets(path: tuple[str | int, ...], text: str) -> None:
    assert dotted(path) == text


def test_the_nearest_name_is_found_only_when_it_is_near() -> None:
    assert nearest("wrokload", ["workload", "dataset"]) == "workload"
    assert nearest("xyzzy", ["workload", "dataset"]) is None

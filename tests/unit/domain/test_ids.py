"""Public ids: what is written can be read again, and nothing else can."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.domain.errors import NotFound
from orchestrator.domain.ids import AttemptId, Kind, decode, decode_attempt, encode

row_numbers = st.integers(min_value=0, max_value=2**63 - 1)


@given(kind=st.sampled_from(["j", "a", "w", "t"]), number=row_numbers)
@example(kind="j", number=0)
@example(kind="t", number=2**63 - 1)
def test_every_row_number_survives_the_way_through_its_public_id(kind: Kind, number: int) -> None:
    assert decode(kind, encode(kind, number)) == number


@given(job=row_numbers, epoch=st.integers(min_value=0, max_value=10**9 - 1))
def test_every_attempt_survives_the_way_through_its_public_id(job: int, epoch: int) -> None:
    assert decode_attempt(str(AttemptId(job, epoch))) == AttemptId(job, epoch)


@given(older=row_numbers, younger=row_numbers)
def test_ids_of_equal_length_sort_by_age(older: int, younger: int) -> None:
    first, second = encode("j", older), encode("j", younger)
    if len(first) == len(second):
        assert (first < second) == (older < younger)


def test_letters_that_people_confuse_with_digits_are_read_as_those_digits() -> None:
    assert decode("j", "J-OIL") == decode("j", "j-011")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "j",
        "j-",
        "7f3k1",
        "w-7f3k1",
        "j-7f3k1.2",
        "j-u",
        "j-7f 3",
        "j--1",
        "j-\x00",
        "j-\ud800",
        "j-" + "z" * 14,
        "j-" + "z" * 100_000,
    ],
)
def test_what_is_no_id_of_a_job_is_not_found(text: str) -> None:
    with pytest.raises(NotFound) as caught:
        decode("j", text)
    assert len(caught.value.message) < 200  # a long id is not echoed whole
    assert caught.value.hint == "Ids of a job look like j-7f3k1."


@pytest.mark.parametrize("text", ["j-7f3k1", "j-7f3k1.", "j-7f3k1.x", "j-7f3k1.-1", "j-7f3k1.1234567890", "j-7f3k1.²"])
def test_what_is_no_id_of_an_attempt_is_not_found(text: str) -> None:
    with pytest.raises(NotFound, match="attempt"):
        decode_attempt(text)

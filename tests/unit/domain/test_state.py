"""The life of a job, as data."""

from __future__ import annotations

from orchestrator.domain.state import TERMINAL, TRANSITIONS, JobState


def test_no_move_is_listed_twice_or_leads_nowhere() -> None:
    pairs = [(move.source, move.target) for move in TRANSITIONS]
    assert len(pairs) == len(set(pairs))
    assert all(source is not target for source, target in pairs)


def test_every_state_can_be_reached_from_the_first_one() -> None:
    reached = {JobState.QUEUED}
    for _ in JobState:
        reached |= {move.target for move in TRANSITIONS if move.source in reached}
    assert reached == set(JobState)


def test_every_state_has_a_way_to_an_end() -> None:
    ending = set(TERMINAL)
    for _ in JobState:
        ending |= {move.source for move in TRANSITIONS if move.target in ending}
    assert ending == set(JobState)


def test_success_is_final_and_comes_only_from_running() -> None:
    assert [move for move in TRANSITIONS if move.source is JobState.SUCCEEDED] == []
    assert [move.source for move in TRANSITIONS if move.target is JobState.SUCCEEDED] == [JobState.RUNNING]


def test_a_job_that_is_being_cancelled_can_only_be_cancelled() -> None:
    assert [move.target for move in TRANSITIONS if move.source is JobState.CANCELLING] == [JobState.CANCELLED]


def test_out_of_an_end_leads_only_the_queue() -> None:
    assert {move.target for move in TRANSITIONS if move.source.terminal} == {JobState.QUEUED}
    assert {state for state in JobState if state.terminal} == TERMINAL

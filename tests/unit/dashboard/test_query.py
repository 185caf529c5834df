"""The search box: what is typed, and what the facets make of it."""

from __future__ import annotations

from orchestrator.dashboard.query import MOST, parse
from orchestrator.domain.state import JobState
from orchestrator.store.filters import JobFilter


def test_words_keys_and_labels() -> None:
    asked = parse('Digits state:failed,cancelled user:"ada l" team=vision kind:train reason:OOM pool:local name:x')
    assert asked.problems == ()
    assert asked.filter == JobFilter(
        words=("digits",),
        states=(JobState.FAILED, JobState.CANCELLED),
        user="ada l",
        labels=(("team", "vision"),),
        kind="Train",
        reason="oom",
        pool="local",
        name="x",
    )


def test_what_is_not_understood_is_said_with_the_nearest_word() -> None:
    asked = parse("state:faild usr:ada")
    assert asked.filter == JobFilter()
    assert asked.problems == (
        "“faild” is not a state. Did you mean failed?",
        "“usr:” is not a filter. Did you mean user?",
    )


def test_nothing_that_can_be_typed_fails() -> None:
    for text in ("", " ", '"', "=", ":", "a=", "=b", ":x", "state:", 'user:"', "x" * 5000, "\x00", "% _ \\", "💥" * 50):
        asked = parse(text)
        assert parse(asked.text).filter == asked.filter
    assert len(parse(" ".join(f"w{n}" for n in range(99))).tokens) == MOST


def test_choices_are_put_in_replaced_and_taken_out() -> None:
    asked = parse("digits state:failed team=vision")
    assert asked.has("state", "FAILED")
    assert asked.toggled("state", "RUNNING") == "digits team=vision state:running"
    assert asked.toggled("state", "FAILED") == "digits team=vision"
    assert asked.toggled("label:team", "nlp x") == 'digits state:failed team="nlp x"'
    assert parse(asked.toggled("label:team", "nlp x")).filter.labels == (("team", "nlp x"),)
    assert asked.toggled("user", "ada") == "digits state:failed team=vision user:ada"
    assert parse("a", [("state", "FAILED"), ("label:k", "v")]).text == "a state:failed k=v"


def test_an_id_alone_names_a_job() -> None:
    assert parse("J-7F3K1").job == "j-7f3k1"
    assert parse("j-7f3k1 x").job is None
    assert parse("job").job is None

"""YAML that people write, and YAML that attackers write."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.yaml import MAX_BYTES, MAX_DEPTH, MAX_NODES, dump, load_documents, placing

JOB = """\
# yaml-language-server: $schema=../schemas/job.v1.json
apiVersion: neutrino/v1
kind: Train
metadata: {name: digits-cnn, labels: {team: vision}}
spec:
  workload: image-classifier
  dataset: builtin://digits
  params: {epochs: 8, lr: 1e-3}
  resources: {gpu: "T4:1", cpu: 4, memory: 8Gi, nodes: 1}
  placement: {clouds: [aws, gcp], spot: prefer, maxCostUsd: 2}
  retry: {max: 2, on: [preempted, infra]}
  timeout: 12h
  outputs: {model: digits-cnn}
"""


def _value(text: str) -> Any:
    return load_documents(f"key: {text}")[0]["key"]


def test_a_job_as_people_write_it() -> None:
    spec = load_documents(JOB)[0].parse()
    assert spec.params == {"epochs": 8, "lr": 0.001}
    assert [str(kind) for kind in spec.retry.on] == ["preempted", "infra"]
    assert spec.timeout == 12 * 3600


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E5", 1e5), (".5", 0.5), ("1.", 1.0), ("-0.0", -0.0), ("+7", 7), ("007", 7), ("0o17", 15),
        ("0x1F", 31), ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None), ("on", "on"),
        ("yes", "yes"), ("No", "No"), ("1:30", "1:30"), ("2026-11-21", "2026-11-21"), ("1_000", "1_000"),
        ("'1'", "1"), ('"true"', "true"), ("1e", "1e"), ("0b1", "0b1"), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = _value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("a: 1\nb: 2\na: 3", (3, 1), "already there in line 1"),
        ("a: {b: 1, b: 2}", (1, 11), "already there"),
        ("a: !!python/object/apply:os.system [ls]", (1, 4), "tag"),
        ("a: !custom 1", (1, 4), "tag"),
        ("a: !!float 1", (1, 4), "tag"),
        ("1: a", (1, 1), "key must be text"),
        ("? [a]\n: b", (1, 3), "key must be text"),
        ("a: .nan", (1, 4), "not a finite number"),
        ("a: -.inf", (1, 4), "not a finite number"),
        ("a: 1e999", (1, 4), "not a finite number"),
        (f"a: {'9' * 5000}", (1, 4), "digits"),
        ("base: &b {x: 1}\na:\n  <<: *b", (3, 3), "merge keys"),
        ("a: *nothing", (1, 4), "no anchor"),
        ("a: &a [*a]", (1, 8), "no anchor"),
        ("a: ]", (1, 4), "expected"),
        ("a: b: c", (1, 5), "mapping values"),
        ("a:\n\t- b", (2, 1), "token"),
        ("a: 1\nb: \x07", (2, 4), "character"),
        ("a: \ud800", (1, 4), "character"),
        ("- a", (1, 1), "must be a mapping"),
        ("just text", (1, 1), "must be a mapping"),
        ("[" * 3000, (1, MAX_DEPTH + 2), "levels deep"),
    ],
)
def test_faults_are_found_where_they_are(text: str, where: tuple[int, int], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words) as caught:
        load_documents(text, "job.yaml")
    error = caught.value.errors[0]
    assert (error.line, error.column) == where
    assert caught.value.message.startswith(f"job.yaml:{where[0]}:{where[1]}: ")


def test_an_anchor_bomb_is_refused_in_no_time() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    began = time.process_time()
    with pytest.raises(InvalidSpec, match="aliases expanded"):
        load_documents("\n".join(lines))
    assert time.process_time() - began < 10  # not 10^30 values


def test_aliases_cannot_nest_beyond_the_limit() -> None:
    chain = ["a0: &a0 [x]"] + [f"a{n}: &a{n} {'[' * 30}*a{n - 1}{']' * 30}" for n in range(1, 60)]
    with pytest.raises(InvalidSpec, match="levels deep"):
        load_documents("\n".join(chain))


def test_aliases_within_reason_work() -> None:
    (document,) = load_documents("one: &env {A: x}\ntwo: *env\n")
    assert document["two"] == {"A": "x"}
    assert document["two"] is not document["one"]


def test_sizes_are_bounded() -> None:
    with pytest.raises(InvalidSpec, match="1 MiB"):
        load_documents("#" * (MAX_BYTES + 1))
    with pytest.raises(InvalidSpec, match="10,000"):
        load_documents("a: [" + "1," * MAX_NODES + "]")
    assert len(load_documents("a: [" + "1," * (MAX_NODES - 2) + "]")[0]["a"]) == MAX_NODES - 2


def test_several_documents_and_empty_ones() -> None:
    assert load_documents("---\na: 1\n---\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
    for text in ("", "---\n", "# nothing\n"):
        with pytest.raises(InvalidSpec, match="no document"):
            load_documents(text)


@pytest.mark.parametrize(
    ("old", "new", "where", "words"),
    [
        ("gpu:", "gpuu:", (9, 15), r"job\.yaml:9:15: spec\.resources\.gpuu: unknown field\. Did you mean 'gpu'\?"),
        ("lr: 1e-3", "lrr: 1", (8, 23), r"spec\.params\.lrr.*Did you mean 'lr'"),
        ("epochs: 8", "epochs: 0", (8, 12), r"spec\.params\.epochs"),
        ("[aws, gcp]", "[aws, gpc]", (10, 29), r"spec\.placement\.clouds\[1\].*Did you mean 'gcp'"),
        ("metadata:", "metdata:", (4, 1), r"metdata.*Did you mean 'metadata'"),
        ("name: digits-cnn,", "name: Digits,", (4, 12), r"metadata\.name"),
        ("{name: digits-cnn, labels: {team: vision}}", "{labels: {}}", (4, 1), r"metadata\.name.*required"),
        ("neutrino/v1", "neutrino/v2", (2, 1), "apiVersion"),
        ("kind: Train", "kind: Trian", (3, 1), "Did you mean 'Train'"),
        ("timeout: 12h", "timeout: soon", (12, 3), r"spec\.timeout.*duration"),
    ],
)
def test_faults_of_fields_have_a_place_too(old: str, new: str, where: tuple[int, int], words: str) -> None:
    (document,) = load_documents(JOB.replace(old, new, 1))
    with pytest.raises(InvalidSpec, match=words) as caught:
        document.parse()
    assert where in {(error.line, error.column) for error in caught.value.errors}


def test_what_the_server_finds_has_a_place_in_its_document() -> None:
    text = "a: 1\n---\nspec:\n  inputs:\n    base: model://wantde\n"
    with pytest.raises(InvalidSpec) as refused, placing(load_documents(text, "jobs.yaml")):
        raise InvalidSpec.of([FieldError("jobs[1].spec.inputs.base", "There is no such model.", "Is it wanted?")])
    assert str(refused.value) == ("jobs.yaml:5:5: spec.inputs.base: There is no such model. Is it wanted?")
    with (
        pytest.raises(InvalidSpec, match=r"^job.yaml:2:8: spec.gpu: "),
        placing(load_documents("a: 1\nspec: {gpu: H1000}")),
    ):
        raise InvalidSpec.of([FieldError("spec.gpu", "is unknown.")])


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(
        ["1e-3", "on", "yes", "null", "~", "0x1f", "1:30", "=", "T4:1", "2026-01-01", ".5", "+1", ".nan", "-"]
    )
    | st.sampled_from(["", "- a", "#", "a: b", "| x", "a\n", "\n", "a\n b\n\n", " a\nb", "\tx\ny", "\x85", "a\r\nb"])
)


def _has_merge_key(value: Any) -> bool:
    if isinstance(value, dict):
        return any(key == "<<" or _has_merge_key(child) for key, child in value.items())
    return isinstance(value, list) and any(_has_merge_key(child) for child in value)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.text(),
        st.recursive(SCALARS, lambda child: st.lists(child) | st.dictionaries(st.text(), child), max_leaves=20),
        min_size=1,
    )
)
def test_what_is_dumped_is_read_back_the_same(document: dict[str, Any]) -> None:
    assume(not _has_merge_key(document))
    assert load_documents(dump(document)) == [document]

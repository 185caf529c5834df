"""YAML as people mean it: the JSON subset with the scalars of YAML 1.2, strict, bounded, and with
positions.

PyYAML reads the events; what they build is decided here, because its loaders know only YAML 1.1, where `on`
is true and `1e-3` is text, and where one small document can expand to gigabytes.
Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from orchestrator.domain import document as documents
from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.location import dotted
from orchestrator.domain.spec import JobSpec

MAX_BYTES = 1024**2
MAX_NODES = 10_000  # after aliases are expanded
MAX_DEPTH = 64
_MAX_DIGITS = 400

_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_SEPARATOR = re.compile("[\r\x85\u2028\u2029]")  # PyYAML still folds at those of YAML 1.1
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_NOT_FINITE = re.compile(r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$")

_SYNTAX_HINTS = {  # what the parser says, and what it mostly comes from
    "cannot start any token": "Indent with spaces, not tabs; text that begins with @, ` or % goes in quotes.",
    "mapping values are not allowed": "Text with a colon goes in quotes; what belongs together is indented alike.",
    "did not find expected": "Is a bracket or a quote left open, or a line indented differently from those around it?",
    "unexpected end of stream": "Close the quote.",
}

_OF_JOB = re.compile(r"^jobs\[(\d+)\]\.")

_Path = tuple[str | int, ...]


class Position(NamedTuple):
    """A place in the text, counted from 1."""

    line: int
    column: int


class Document(dict[str, Any]):
    """A document that knows where in its source each field stands."""

    def __init__(self, content: Mapping[str, Any], source: str, positions: Mapping[str, Position]) -> None:
        super().__init__(content)
        self.source = source
        self._positions = positions

    def locate(self, path: str) -> Position:
        """The place of the field at a dotted path such as `spec.resources.gpu`; of what is nearest above it
        when the field is not there."""
        while path and path not in self._positions:
            path = re.sub(r"(?:\.?[^.\[\]]+|\[\d+\]|\.)$", "", path)
        return self._positions.get(path, Position(1, 1))

    def parse(self) -> JobSpec:
        """The spec that the document describes. Raises InvalidSpec, with line and column of every fault."""
        try:
            return documents.parse(dict(self))
        except InvalidSpec as invalid:
            raise _placed(self.source, [self.placed(error) for error in invalid.errors]) from None

    def placed(self, error: FieldError) -> FieldError:
        """A fault together with its line and column."""
        line, column = self.locate(error.path)
        return FieldError(error.path, error.message, error.hint, line, column)


def load_documents(text: str, source: str = "job.yaml") -> list[Document]:
    """Every document of a YAML text; empty ones are left out.

    Raises InvalidSpec with line and column for what is no YAML or more than a job needs: duplicate keys,
    tags, merge keys, keys that are no text, NaN and infinity, more than 1 MiB, 10,000 nodes, or 64 levels.
    """
    if (stray := _SURROGATE.search(text)) is not None:
        raise _placed(source, [_bad_character(text, stray.start())])
    if len(text.encode()) > MAX_BYTES:
        raise InvalidSpec(f"{source} is larger than {MAX_BYTES >> 20} MiB.", hint="Data belongs into a dataset.")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = list(_documents(yaml.parse(text, Loader=loader), source))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        problem = f"{error.problem or error.context}"
        hint = next((hint for words, hint in _SYNTAX_HINTS.items() if words in problem), None)
        raise _placed(source, [FieldError("", f"{problem}.", hint, *at)]) from None
    except yaml.reader.ReaderError as error:
        raise _placed(source, [_bad_character(text, error.position)]) from None
    except _Refused as refused:
        raise _placed(source, [refused.error]) from None
    if not found:
        raise InvalidSpec(f"{source} contains no document.", hint="A job begins with `apiVersion: neutrino/v1`.")
    return found


@contextmanager
def placing(documents: Sequence[Document]) -> Iterator[None]:
    """Say with line and column what somebody else finds wrong with documents of one file. The paths of those faults
    begin with `jobs[1].` where there are several documents. Raises InvalidSpec."""
    try:
        yield
    except InvalidSpec as invalid:
        if not invalid.errors:
            raise
        raise _placed(documents[0].source, [_in_its_document(documents, error) for error in invalid.errors]) from None


def _in_its_document(documents: Sequence[Document], error: FieldError) -> FieldError:
    number = _OF_JOB.match(error.path)
    if number is None:
        return documents[0].placed(error)
    path = error.path[number.end() :]
    return documents[int(number[1])].placed(FieldError(path, error.message, error.hint))


def dump(document: Any) -> str:
    """A document as YAML that `load_documents` reads back as the same."""
    text: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    return text


class _Refused(Exception):
    """A fault found while building."""

    def __init__(self, error: FieldError) -> None:
        super().__init__(error.message)
        self.error = error


def _bad_character(text: str, position: int) -> FieldError:
    before = text[:position]
    at = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
    return FieldError("", "a character that YAML does not allow.", None, *at)


def _placed(source: str, errors: list[FieldError]) -> InvalidSpec:
    """The error for faults in a file, each quoted as `file:line:column: path: what is wrong`."""
    quoted = [
        f"{source}:{error.line}:{error.column}: "
        + (f"{error.path}: " if error.path else "")
        + (f"{error.message.rstrip('.')}. {error.hint}" if error.hint else error.message)
        for error in errors[:10]
    ]
    more = f"\n(and {len(errors) - 10} more)" if len(errors) > 10 else ""
    return InvalidSpec("\n".join(quoted) + more, errors=errors)


@dataclass(slots=True)
class _Node:
    """A piece of the text: a scalar's value, or its children with their keys."""

    kind: str
    at: Position
    value: Any = None
    children: list[tuple[str | int, Position, _Node]] | None = None


def _documents(events: Iterator[Any], source: str) -> Iterator[Document]:
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            root = _compose(next(events), events, {}, 0)
            positions: dict[str, Position] = {}
            content = _Builder(positions).build(root, ())
            if content is None:
                continue
            if not isinstance(content, dict):
                hint = "A job begins with `apiVersion: neutrino/v1`."
                raise _Refused(FieldError("", "a document must be a mapping.", hint, *root.at))
            yield Document(content, source, positions)


def _compose(event: Any, events: Iterator[Any], anchors: dict[str, _Node], depth: int) -> _Node:
    at = Position(event.start_mark.line + 1, event.start_mark.column + 1)
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise _Refused(FieldError("", f"no anchor &{event.anchor} stands before its alias.", None, *at))
        return anchors[event.anchor]
    if event.tag is not None:
        raise _Refused(FieldError("", f"the tag {event.tag} is not allowed.", "Write plain values.", *at))
    if depth > MAX_DEPTH:
        raise _Refused(FieldError("", f"nested more than {MAX_DEPTH} levels deep.", None, *at))
    if isinstance(event, yaml.ScalarEvent):
        value = _scalar(event.value, at) if event.implicit[0] else event.value
        node = _Node("scalar", at, value)
    elif isinstance(event, yaml.SequenceStartEvent):
        node = _Node("sequence", at, children=list(_items(events, anchors, depth)))
    else:
        node = _Node("mapping", at, children=list(_entries(events, anchors, depth)))
    if event.anchor:  # only now: an alias inside of its own anchor finds nothing
        anchors[event.anchor] = node
    return node


def _items(events: Iterator[Any], anchors: dict[str, _Node], depth: int) -> Iterator[tuple[int, Position, _Node]]:
    index = 0
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        node = _compose(event, events, anchors, depth + 1)
        yield index, node.at, node
        index += 1


def _entries(events: Iterator[Any], anchors: dict[str, _Node], depth: int) -> Iterator[tuple[str, Position, _Node]]:
    seen: dict[str, Position] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _compose(event, events, anchors, depth + 1)
        if not isinstance(key.value, str):
            raise _Refused(FieldError("", "a key must be text.", "Put it in quotes.", *key.at))
        if key.value == "<<":
            hint = "Name the alias where the value stands: `env: *common`."
            raise _Refused(FieldError("<<", "merge keys are not part of YAML 1.2.", hint, *key.at))
        if (first := seen.setdefault(key.value, key.at)) is not key.at:
            message = f"the key {key.value!r} is already there in line {first.line}."
            raise _Refused(FieldError("", message, "Keep one of the two.", *key.at))
        yield key.value, key.at, _compose(next(events), events, anchors, depth + 1)


class _Builder:
    """Turns nodes into plain data, expanding aliases as far as the limit allows."""

    def __init__(self, positions: dict[str, Position]) -> None:
        self._positions = positions
        self._count = 0

    def build(self, node: _Node, path: _Path) -> Any:
        self._count += 1
        if self._count > MAX_NODES:
            message = f"more than {MAX_NODES:,} values, aliases expanded."
            raise _Refused(FieldError("", message, "Data belongs into a dataset.", *node.at))
        if len(path) > MAX_DEPTH:  # aliases nest without being nested in the text
            raise _Refused(FieldError("", f"nested more than {MAX_DEPTH} levels deep.", None, *node.at))
        if node.children is None:
            return node.value
        values = []
        for key, at, child in node.children:
            here = (*path, key)
            self._positions[dotted(here)] = at
            values.append((key, self.build(child, here)))
        return dict(values) if node.kind == "mapping" else [value for _, value in values]


def _scalar(text: str, at: Position) -> Any:
    """What an unquoted scalar means."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text[0] in "tT"
    if _INT.match(text):
        if len(text) > _MAX_DIGITS:
            raise _Refused(FieldError("", "a number of that many digits is not allowed.", None, *at))
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.match(text):
        number = float(text)
        if math.isfinite(number):
            return number
    elif not _NOT_FINITE.match(text):
        return text
    raise _Refused(FieldError("", f"{text[:40]} is not a finite number.", None, *at))


class _Dumper(yaml.SafeDumper):
    """Writes the scalars of YAML 1.2: `on` plain, the text "1e-3" in quotes. Repeats instead of making
    anchors."""

    yaml_implicit_resolvers = dict[str, Any]()  # noqa: RUF012 - the name is PyYAML's

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


for _tag, _pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT), ("float", _NOT_FINITE)):
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, None)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("^<<$"), None)


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if _LINE_SEPARATOR.search(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)

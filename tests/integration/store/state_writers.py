"""Finds code that writes the state of a job or an attempt: reads the syntax tree of a module, looks at every piece of
SQL in it and at every use of SQLAlchemy's own statements."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_UNKNOWN = "\x01"  # stands for a value that is only known when the program runs
_TABLE = rf'(?:ONLY\s+)?(?:\w+\.)?"?(?:jobs|attempts|{_UNKNOWN})"?'
_UPDATE = re.compile(rf"\bUPDATE\s+{_TABLE}(?:\s+(?:AS\s+)?\w+)?\s+SET\b(.*)", re.IGNORECASE | re.DOTALL)
_SETS_STATE = re.compile(rf'(?:^|[,(])\s*(?:\(\s*)?(?:"?state"?|{_UNKNOWN})\s*(?:=|,|\))', re.IGNORECASE)
_END_OF_SET = re.compile(r"\b(?:FROM|WHERE|RETURNING)\b", re.IGNORECASE)
_INSERT_ATTEMPT = re.compile(r'\bINTO\s+(?:\w+\.)?"?attempts\b', re.IGNORECASE)
_INSERT_JOB = re.compile(r'\bINTO\s+(?:\w+\.)?"?jobs"?\s*(?:AS\s+\w+\s*)?(\([^)]*\))?', re.IGNORECASE)
_COPY = re.compile(r'\b(?:COPY|MERGE\s+INTO)\s+(?:\w+\.)?"?(?:jobs|attempts)\b', re.IGNORECASE)
_BUILDERS = {"insert", "update", "table", "Table", "delete"}


def violations(path: Path) -> list[str]:
    """Where a module writes a state, as `name:line: what`."""
    tree = ast.parse(path.read_text())
    found = [*_imports(tree)]
    for line, sql in _texts(tree):
        found += [(line, what) for what in _sql_faults(sql)]
    return [f"{path.name}:{line}: {what}" for line, what in sorted(set(found))]


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {alias.name for alias in node.names}
            if node.module.split(".")[0] == "sqlalchemy" and (names & _BUILDERS or ".orm" in node.module):
                yield node.lineno, "builds statements without text"
            if node.module.endswith("store.tables") or (node.module.endswith("store") and "tables" in names):
                yield node.lineno, "uses the tables"
        if isinstance(node, ast.Import) and any(
            "store.tables" in a.name or "sqlalchemy.orm" in a.name for a in node.names
        ):
            yield node.lineno, "uses the tables"


def _texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    inner = {id(child) for node in ast.walk(tree) if isinstance(node, ast.BinOp) for child in (node.left, node.right)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.BinOp | ast.Constant) and id(node) not in inner:
            text = _text(node)
            if text is not None:
                yield node.lineno, re.sub(r"--[^\n]*", " ", text)


def _text(node: ast.AST) -> str | None:
    """The text of an expression; None when it is none."""
    match node:
        case ast.Constant(value=str() as value):
            return re.sub(r"\{\w*\}|%s|%\(\w+\)s", _UNKNOWN, value)
        case ast.JoinedStr(values=values):
            return "".join(_text(value) or _UNKNOWN for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            parts = _text(left), _text(right)
            return None if parts == (None, None) else "".join(part or _UNKNOWN for part in parts)
        case ast.BinOp(left=left, op=ast.Mod()):
            return _text(left)
        case _:
            return None


def _sql_faults(sql: str) -> Iterator[str]:
    for start in (match.start() for match in re.finditer(r"\bUPDATE\b", sql, re.IGNORECASE)):
        if (update := _UPDATE.match(sql, start)) and _SETS_STATE.search(_set_clause(update[1])):
            yield "updates a state"
    if _INSERT_ATTEMPT.search(sql):
        yield "begins an attempt"
    for insert in _INSERT_JOB.finditer(sql):
        if insert[1] is None or re.search(r"\bstate\b", insert[1]):
            yield "inserts a job with a state"
    if _COPY.search(sql):
        yield "copies into the table"


def _set_clause(rest: str) -> str:
    """The assignments, without what follows them and without what stands in brackets."""
    end = _END_OF_SET.search(rest)
    clause = rest[: end.start()] if end else rest
    return re.sub(r"(?<=[\w:])\([^()]*\)", "", clause)

"""Public ids: short, sortable by age, hard to mistype. `j-7f3k1` is job 7f3k1 (Crockford's base 32), `j-7f3k1.2` its
second attempt. The number inside is the row's key, so that no table needs a second index.

Source of the alphabet: https://www.crockford.com/base32.html (no i, l, o, u).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from orchestrator.domain.errors import NotFound

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUE = {char: value for value, char in enumerate(_ALPHABET)} | {"o": 0, "i": 1, "l": 1}
_LARGEST = 2**63 - 1

Kind = Literal["j", "a", "w", "t"]
_NOUN: dict[str, str] = {"j": "job", "a": "artifact", "w": "worker", "t": "token"}


class AttemptId(NamedTuple):
    """One execution of a job. Its epoch is its number and its fencing token."""

    job_id: int
    epoch: int

    def __str__(self) -> str:
        return f"{encode('j', self.job_id)}.{self.epoch}"


def encode(kind: Kind, number: int) -> str:
    """The public id of row `number`."""
    digits = ""
    while number:
        number, rest = divmod(number, 32)
        digits = _ALPHABET[rest] + digits
    return f"{kind}-{digits or '0'}"


def decode(kind: Kind, text: str) -> int:
    """The row behind a public id. Raises NotFound for anything that is no such id: it cannot name a row."""
    prefix, _, digits = text.lower().partition("-")
    number = 0
    for char in digits:
        if char not in _VALUE or number > _LARGEST >> 5:
            prefix = ""
            break
        number = number * 32 + _VALUE[char]
    if prefix != kind or not digits:
        raise NotFound(
            f"There is no {_NOUN[kind]} {text[:80]!r}.",
            hint=f"Ids of a {_NOUN[kind]} look like {kind}-7f3k1.",
        )
    return number


def decode_attempt(text: str) -> AttemptId:
    """The attempt that `j-7f3k1.2` names. Raises NotFound for anything else."""
    job, _, epoch = text.partition(".")
    if not (epoch.isascii() and epoch.isdigit() and len(epoch) < 10):
        raise NotFound(f"There is no attempt {text[:80]!r}.", hint="Ids of an attempt look like j-7f3k1.2.")
    return AttemptId(decode("j", job), int(epoch))

"""Text that jobs have written, made harmless: escaped first, colours kept, everything else that steers a terminal or
the direction of writing taken out or made visible.

Only SGR (`ESC [ … m`) means anything. Its colours become classes, because no page of ours may carry styles; the 256 and
the true colours become the nearest of the 16 that every theme has with enough contrast.
Source: ECMA-48, 8.3.117, and https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from markupsafe import Markup, escape

_SEQUENCE = re.compile(
    r"\x1b\[(?P<sgr>[0-9;:]{0,64})m"
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # other CSI
    r"|\x1b[P\]X^_].*?(?:\x1b\\|\x07|$)"  # strings: titles, links, pictures
    r"|\x1b[ -/]*[0-~]"
    r"|\x1b",
    re.DOTALL,
)
# Directions of writing can make a line read as something that it is not: https://trojansource.codes
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\ufff9-\ufffb]"
)
_FLAGS = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
_OFF = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("inverse",), 29: ("strike",)}
_BASIC = (
    (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229),
    (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255),
    (255, 255, 255),
)  # fmt: skip
_LEVELS = (0, 95, 135, 175, 215, 255)


@dataclass(frozen=True, slots=True)
class _Look:
    colour: int | None = None
    ground: int | None = None
    flags: frozenset[str] = frozenset()

    def classes(self) -> str:
        named = sorted(f"a-{flag}" for flag in self.flags)
        named += [f"f{self.colour}"] if self.colour is not None else []
        named += [f"g{self.ground}"] if self.ground is not None else []
        return " ".join(named)


_PLAIN = _Look()


def _visible(found: re.Match[str]) -> str:
    """Like `cat -v` shows it, which every font has: `^[` for ESC."""
    code = ord(found.group())
    return f"^{chr(code ^ 0x40)}" if code <= 0x7F else f"⟨U+{code:04X}⟩"


def shown(value: Any) -> Any:
    """Whatever a page shows: in a text, what would be invisible, or would change what is beside it, is made visible."""
    return _HIDDEN.sub(_visible, value) if type(value) is str else value


def html(text: str) -> Markup:
    """A line of a log as HTML. Like on a terminal, what follows a carriage return replaces what was before it."""
    text = text.rstrip("\r").rpartition("\r")[2]
    look, parts, at = _PLAIN, list[str](), 0
    for found in _SEQUENCE.finditer(text):
        parts.append(_span(text[at : found.start()], look))
        at = found.end()
        if found.group("sgr") is not None:
            look = _apply(look, found.group("sgr"))
    parts.append(_span(text[at:], look))
    return Markup("".join(parts))  # noqa: S704 - made of escaped text and of our own classes only


def plain(text: str) -> str:
    """A line of a log without colours, for a file that somebody may print on a terminal."""
    return _HIDDEN.sub(_visible, _SEQUENCE.sub("", text))


def _span(text: str, look: _Look) -> str:
    if not text:
        return ""
    escaped = str(escape(_HIDDEN.sub(_visible, text)))
    return f'<span class="{look.classes()}">{escaped}</span>' if look != _PLAIN else escaped


def _apply(look: _Look, parameters: str) -> _Look:
    """A look after an SGR sequence; what is not known changes nothing."""
    codes = iter([int(code[:4] or 0) for code in re.split("[;:]", parameters)])
    for code in codes:
        if code == 0:
            look = _PLAIN
        elif code in _FLAGS:
            look = replace(look, flags=look.flags | {_FLAGS[code]})
        elif code in _OFF:
            look = replace(look, flags=look.flags - set(_OFF[code]))
        elif code in (38, 48):
            colour = _extended(codes)
            look = _painted(look, colour, ground=code == 48)
        elif code in (39, 49):
            look = _painted(look, None, ground=code == 49)
        elif (base := code - code % 10) in (30, 40, 90, 100) and code % 10 < 8:
            colour = code % 10 + (8 if base >= 90 else 0)
            look = _painted(look, colour, ground=base in (40, 100))
    return look


def _painted(look: _Look, colour: int | None, *, ground: bool) -> _Look:
    return replace(look, ground=colour) if ground else replace(look, colour=colour)


def _extended(codes: Iterator[int]) -> int | None:
    """The colour after 38 or 48: `5;N` of 256, or `2;R;G;B`."""
    kind = next(codes, 0)
    if kind == 5:
        return _of_256(next(codes, 0) & 255)
    if kind == 2:
        red, green, blue = (min(255, next(codes, 0)) for _ in range(3))
        return _nearest(red, green, blue)
    return None


@cache
def _of_256(number: int) -> int:
    if number < 16:
        return number
    if number > 231:
        return _nearest(*[8 + 10 * (number - 232)] * 3)
    index = number - 16
    return _nearest(_LEVELS[index // 36], _LEVELS[index // 6 % 6], _LEVELS[index % 6])


@cache
def _nearest(red: int, green: int, blue: int) -> int:
    def distance(number: int) -> int:
        other = _BASIC[number]
        return (red - other[0]) ** 2 + (green - other[1]) ** 2 + (blue - other[2]) ** 2

    return min(range(16), key=distance)

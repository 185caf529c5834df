"""Text that jobs have written: nothing of it acts, and colours stay."""

from __future__ import annotations

import random
import re

import pytest

from orchestrator.dashboard.ansi import html, plain, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("<script>alert('x')</script>", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"),
        ("\x1b[31mred\x1b[0m.", '<span class="f1">red</span>.'),
        ("\x1b[1;32mok", '<span class="a-bold f2">ok</span>'),
        ("\x1b[mno\x1b[39;49m", "no"),
        ("\x1b[91;44mx\x1b[49my", '<span class="f9 g4">x</span><span class="f9">y</span>'),
        ("\x1b[38;5;196mx", '<span class="f9">x</span>'),
        ("\x1b[38;2;1;2;3mx", '<span class="f0">x</span>'),
        ("\x1b[38:5:2mx", '<span class="f2">x</span>'),
        ("\x1b[38;5mx\x1b[38mx\x1b[999;12345678mx", '<span class="f0">x</span>xx'),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;javascript:alert(1)\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;never ends <b>", ""),
        ("\x1b[2J\x1b[1;1Hhome\x1b[?25l", "home"),
        ("10 %\r50 %\r100 %\r", "100 %"),
        ("a\x00b\x08c\x7f\x9b31m", "a^@b^Hc^?⟨U+009B⟩31m"),
        ("\u202eevil\u2066", "⟨U+202E⟩evil⟨U+2066⟩"),
        ('"><img src=x onerror=alert(1)>', "&#34;&gt;&lt;img src=x onerror=alert(1)&gt;"),
        ("\x1b[<script>m", "cript&gt;m"),  # a sequence of its own kind, up to its last letter
    ],
)
def test_lines(text: str, expected: str) -> None:
    assert str(html(text)) == expected


def test_whatever_comes_only_our_own_tags_are_in_the_answer() -> None:
    chance = random.Random(7)
    pieces = [
        "\x1b",
        "[",
        "]",
        "31",
        ";",
        "m",
        "<",
        ">",
        '"',
        "'",
        "&",
        "\r",
        "\x07",
        "\\",
        "38",
        "5",
        "x",
        "\u202e",
        "P",
    ]
    for _ in range(5000):
        text = "".join(chance.choices(pieces, k=chance.randint(1, 24)))
        made = re.sub(r'<span class="[a-z0-9 -]+">|</span>', "", str(html(text)))
        assert not set(made) & {"<", ">", '"', "'", "\x1b", "\u202e"}, text
        assert not set(plain(text)) & {"\x1b", "\r", "\x07", "\u202e"}, text


def test_a_text_on_a_page_hides_nothing() -> None:
    assert shown("ada\u202e\nbob\x1b[31m\r") == "ada⟨U+202E⟩\nbob^[[31m^M"
    assert shown(7) == 7

"""Foreign text is escaped: it makes no line in a log and controls no terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.escaping import printable, printable_lines, shown


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain text", "plain text"),
        ("naïve 日本 👍", "naïve 日本 👍"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("x\u202ey\u2066", r"x\u202ey\u2066"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("\u200b\ufeff", r"\u200b\ufeff"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
        ("[bold]C:\\x", "[bold]C:\\x"),
    ],
)
def test_what_it_becomes(text: str, safe: str) -> None:
    assert printable(text) == safe


@given(st.text())
def test_nothing_without_an_image_is_left(text: str) -> None:
    safe = printable(text)
    assert all(unicodedata.category(char)[0] not in "C" for char in safe)
    assert not {"Zl", "Zp"} & {unicodedata.category(char) for char in safe}
    assert printable(safe) == safe
    safe.encode()


@given(st.text(), st.integers(4, 60))
def test_length_is_bounded(text: str, limit: int) -> None:
    assert len(printable(text, limit)) <= limit


def test_lines_stay_lines() -> None:
    assert printable_lines("a\x1b\n\tb\r") == "a\\x1b\n\tb\\r"


def test_values_are_shown_short_and_whatever_they_are() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    class Ugly:
        def __repr__(self) -> str:
            return "\x1b\n"

    assert shown("a\n") == r"'a\n'"
    assert shown(Rude()) == "a Rude"
    assert shown(Ugly()) == r"\x1b\n"
    assert len(shown("x" * 1000)) == 120

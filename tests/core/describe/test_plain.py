"""A stranger's text is shown whole, and nothing in it acts."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.describe.plain import Piece, line, pieces, show


@pytest.mark.parametrize(
    "text",
    [
        "Guten Morgen, naïve Café",
        "line one\n\tline two",
        "नमस्ते क्षत्रिय",
        "می‌خواهم",  # Persian needs its zero-width non-joiner
        "שָׁלוֹם",
        "Tiếng Việt",
        "👩‍👩‍👧 ❤️ 🌿",
        "a\u00a0b\u3000c",
    ],
)
def test_honest_text_is_left_alone(text: str) -> None:
    """What people write in their languages is shown as it is."""
    assert pieces(text) == (Piece(text),)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("abc\u202edef", "U+202E"),
        ("pay\u200bpal", "U+200B"),
        ("pay\u200dpal", "U+200D"),
        ("\u2066x\u2069", "U+2066"),
        ("bell\x07", "U+0007"),
        ("a\rb", "U+000D"),
        ("escape\x1b[2J", "U+001B"),
        ("tag\U000e0041", "U+E0041"),
        ("\ufeffbom", "U+FEFF"),
        ("sep\u2028", "U+2028"),
        ("za" + "\u0301" * 12 + "lgo", "U+0301"),
    ],
)
def test_what_acts_is_named_instead(text: str, mark: str) -> None:
    """Invisible, direction-changing and control characters become their numbers."""
    assert Piece(mark, mark=True) in pieces(text)


@given(st.text())
def test_nothing_that_acts_is_left(text: str) -> None:
    """Whatever the text, what is shown as it is has no control and no direction mark in it."""
    for piece in pieces(text):
        if not piece.mark:
            left = {unicodedata.category(character) for character in piece.text} - {"Zs"}
            harmless = piece.text.replace("\n", "").replace("\t", "")
            assert not {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"} & {
                unicodedata.category(character) for character in harmless
            }
            assert "Cf" not in left or set("\u200c\u200d") & set(piece.text)


@given(st.text(max_size=300), st.integers(0, 50), st.integers(50, 100))
def test_every_character_is_shown_or_counted(text: str, head: int, limit: int) -> None:
    """Beginning, rest and what is hidden add up to the text."""
    shown = show(text, head, limit)
    assert shown.rest_length == max(0, len(text) - head)
    assert shown.hidden_length == max(0, len(text) - limit)
    visible = sum(1 if piece.mark else len(piece.text) for piece in (*shown.head, *shown.rest))
    assert visible + shown.hidden_length == len(text)


def test_a_name_is_one_short_line() -> None:
    """A name can't draw a second line, nor push the rest off the screen."""
    assert line("Good\nApp\u202e", 64) == "Good App·"
    assert len(line("x" * 500, 64)) == 65

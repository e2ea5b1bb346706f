from __future__ import annotations

import unicodedata

import pytest
from edictum.text import escape_controls, shorten
from hypothesis import given
from hypothesis import strategies as st

any_text = st.text(alphabet=st.characters(codec=None, exclude_categories=()))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred", "\\u001b[31mred"),
        ("a\nb\tc\r", "a\\u000ab\\u0009c\\u000d"),
        ("\x00\x7f\x9b", "\\u0000\\u007f\\u009b"),
        ("evil\u202etxt.exe", "evil\\u202etxt.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("pay\u200bpal\u200d\ufeff\u00ad", "pay\\u200bpal\\u200d\\ufeff\\u00ad"),
        ("line\u2028end\u2029", "line\\u2028end\\u2029"),
        ("\ud800", "\\ud800"),
        ("hi\U000e0041", "hi\\U000e0041"),
    ],
)
def test_escape_controls_unsafe_character_is_written_out(raw: str, shown: str) -> None:
    assert shown == escape_controls(raw)


def test_escape_controls_clean_text_is_the_same_object() -> None:
    text = "größer 東京 🎉 C:\\temp \u00a0 'quoted'"

    assert escape_controls(text) is text


@given(any_text)
def test_escape_controls_any_text_leaves_nothing_unprintable_and_is_idempotent(text: str) -> None:
    once = escape_controls(text)

    assert once == escape_controls(once)
    assert [char for char in once if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}] == []
    assert not any(unicodedata.bidirectional(char) in {"RLO", "LRO", "RLI", "LRI", "FSI", "PDI"} for char in once)
    once.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc..."),
        ("abcdefg", 3, "..."),
        ("abcdefg", 2, ".."),
        ("abcdefg", 0, ""),
        ("", 0, ""),
    ],
)
def test_shorten_at_each_limit_keeps_within_it(text: str, limit: int, expected: str) -> None:
    assert expected == shorten(text, limit)


def test_shorten_text_that_fits_is_the_same_object() -> None:
    text = "x" * 10

    assert shorten(text, 10) is text


@given(st.text(), st.integers(min_value=0, max_value=30))
def test_shorten_any_text_never_exceeds_the_limit(text: str, limit: int) -> None:
    assert len(shorten(text, limit)) <= limit

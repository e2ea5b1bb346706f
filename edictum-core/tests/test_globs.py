"""
Globs over tool names.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from edictum.globs import glob_matcher, is_glob
from hypothesis import given
from hypothesis import strategies as st

PATTERNS = st.text("aAb*?[]!-.\n", max_size=6)
NAMES = st.text("aAb*?[]!-.\n", max_size=6)


@pytest.mark.property
@given(PATTERNS, NAMES)
def test_glob_agrees_with_the_case_sensitive_matcher_of_python(pattern: str, name: str) -> None:
    assert fnmatchcase(name, pattern) == glob_matcher(pattern)(name)


@pytest.mark.property
@given(st.text(max_size=8).filter(lambda text: not set(text) & set("*?[")))
def test_glob_without_special_characters_matches_itself_only(pattern: str) -> None:
    assert not is_glob(pattern)
    assert glob_matcher(pattern)(pattern)
    assert not glob_matcher(pattern)(pattern + "x")
    assert not glob_matcher(pattern)("x" + pattern)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*", ["", "x", "a\nb", "日本"], []),
        ("Bash", ["Bash"], ["bash", "BASH", "Bash2", "xBash", "Bash\n"]),
        ("mcp_*", ["mcp_", "mcp__a"], ["mcp", "xmcp_a", "MCP_a"]),
        ("read_?", ["read_a"], ["read_", "read_ab"]),
        ("[rw]ead", ["read", "wead"], ["Read", "xread"]),
        ("[!r]ead", ["wead"], ["read"]),
        ("[a-c]x", ["ax", "cx"], ["dx"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a.*", ["a.", "a.b"], ["axb"]),
        ("[", ["["], ["", "a"]),
        ("{a,b}", ["{a,b}"], ["a", "b"]),
        ("*(a+)+$", ["(a+)+$", "x(a+)+$"], ["aaa"]),
    ],
)
def test_glob_matches_whole_names_only(pattern: str, matching: list[str], others: list[str]) -> None:
    matches = glob_matcher(pattern)

    assert matching == [name for name in matching + others if matches(name)]


@pytest.mark.parametrize(("text", "expected"), [("a", False), ("", False), ("a*", True), ("a?", True), ("[a]", True)])
def test_is_glob_looks_for_special_characters(text: str, expected: bool) -> None:
    assert expected == is_glob(text)

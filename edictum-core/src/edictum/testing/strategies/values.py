"""
Texts, numbers and names of which generated rulesets and calls are made.

Some are few and frequent, so that rules and calls that know nothing of each other meet now and then.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# Visible characters, so that an example can be read where it is printed.
_TEXT = st.text(
    alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp", "Cn"]), max_size=12
)
_FEW_WORDS = st.sampled_from(["x", "xy", "yx", "X", "1", "true", "rm -rf /", "été"])
# Texts of many characters are seldom, because they take longest to make.
WORDS = st.one_of(_FEW_WORDS, _FEW_WORDS, _FEW_WORDS, _TEXT.filter(bool))
TEXTS = st.one_of(_FEW_WORDS, _FEW_WORDS, st.just(""), _TEXT)
_FRACTIONS = st.floats(-1000, 1000, allow_nan=False).filter(lambda number: not number.is_integer())
NUMBERS = st.one_of(st.sampled_from([0, 1, -1, 2, 1.5]), st.integers(-1000, 1000), _FRACTIONS)
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())
KEYS = st.sampled_from(["path", "command", "branch", "mode", "size", "x-y", "été"])
PATHS = st.one_of(KEYS, KEYS, st.lists(KEYS, min_size=2, max_size=3).map(".".join))
# Not from a regular expression, which takes longer.
IDS = st.text("ab09_-", min_size=1, max_size=6).map(lambda text: text.lstrip("_-") or "r")
PATTERNS = st.sampled_from(["rm", r"^a+$", r"\bkey\b", "[0-9]{3}", "a|b", r"\s*x", "(?i)prod", "x", "^$", r"\d"])
# Most rules of a ruleset concern a call, or they would seldom meet each other.
TOOL_PATTERNS = st.sampled_from(
    [*["*"] * 9, "read_file", "read_*", "[rw]*_file", "????_file", "write_*", "mcp__[ab]?", "Bash", "Read"]
)
TOOL_NAMES = st.sampled_from([*["read_file"] * 3, "write_file", "Bash", "Read", "mcp__ax", "x"])
_MAPS = st.dictionaries(KEYS, SCALARS, max_size=2)
# JSON as a model writes it, and what Python programs pass beside it.
VALUES = st.one_of(
    TEXTS,
    NUMBERS,
    SCALARS,
    st.lists(SCALARS, max_size=2),
    _MAPS,
    _MAPS.map(lambda inner: {"path": inner, "size": [inner]}),
    st.one_of(st.tuples(SCALARS), st.just(float("nan"))),
)


def lists(items: st.SearchStrategy[Any], shortest: int = 1) -> st.SearchStrategy[list[Any]]:
    """
    Short lists.
    """
    return st.lists(items, min_size=shortest, max_size=3)

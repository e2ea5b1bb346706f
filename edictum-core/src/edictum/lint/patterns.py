"""
What is wrong with a regular expression that compiles and is admitted.
"""

from __future__ import annotations

import re

from edictum.ruleset.patterns import MAX_MATCH_CHARS, Pattern, PatternRefused, admit

_BACKSPACE = "\x08"
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_DRIVE = re.compile(r"(?<![A-Za-z])[A-Za-z]:\\")
# What follows the letter when a class was meant (a repeat), and what surrounds a word border that was meant.
_REPEATED = re.compile(r"[+*?{]")
_AFTER_BORDER = re.compile(r"$|[()\[|\\]")
_BEFORE_DOT = re.compile(r"(?:^|[\^(|/)*+])$")


def limited(source: str) -> str | None:
    """
    Say how long a text a pattern searches, if that is less than for most patterns.
    """
    pattern = _admitted(source)
    if pattern is None or pattern.limit == MAX_MATCH_CHARS:
        return None
    return f"the work of the pattern is {pattern.risk}; it searches texts of up to {pattern.limit} characters"


def risky(source: str) -> str | None:
    """
    Say why only the engine of linear time searches for a pattern, if so.
    """
    pattern = _admitted(source)
    return f"the work of the pattern would be {pattern.risk}" if pattern and pattern.engine == "linear" else None


def _admitted(source: str) -> Pattern | None:
    try:
        return admit(source)
    except PatternRefused:
        return None


def holds_backspace(source: str) -> bool:
    r"""
    Whether a pattern holds the backspace character, which ``\b`` is in double quotes.
    """
    return _BACKSPACE in source


def doubled_escape(source: str) -> str | None:
    r"""
    Find an escape that was written twice, such as ``\\b`` in single quotes, and so demands a real backslash.

    Only forms that make no sense as a path are taken for a mistake: ``\\s+``, ``\\b`` at the end or beside a group,
    ``\\.`` at the start of a name.

    Returns:
        The escape as it stands in the pattern, or None.
    """
    if _DRIVE.search(source):
        return None
    for match in _PAIR.finditer(source):
        if match[1] != "\\":
            continue
        letter, behind = source[match.end() : match.end() + 1], source[match.end() + 1 :]
        if letter and letter in "dDsSwW":
            mistake = _REPEATED.match(behind) is not None
        elif letter and letter in "bB":
            mistake = _AFTER_BORDER.match(behind) is not None
        else:
            before = source[: match.start()]
            mistake = letter == "." and behind[:1].isalnum() and _BEFORE_DOT.search(before) is not None
        if mistake:
            return f"\\\\{letter}"
    return None

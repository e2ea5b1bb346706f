"""
What is wrong with a regular expression that compiles and is admitted.
"""

from __future__ import annotations

import re
from functools import lru_cache

from edictum.ruleset.patterns import MAX_MATCH_CHARS, PatternRefused, admit

_BACKSPACE = "\x08"
_REFERENCE = re.compile(r"\\[1-9]|\(\?P=|\(\?\(")
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_DRIVE = re.compile(r"(?<![A-Za-z])[A-Za-z]:\\")
# What follows the letter when a class was meant (a repeat), and what surrounds a word border that was meant.
_REPEATED = re.compile(r"[+*?{]")
_AFTER_BORDER = re.compile(r"$|[()\[|\\]")
_BEFORE_DOT = re.compile(r"(?:^|[\^(|/)*+])$")


@lru_cache(maxsize=4096)
def matches_everything(source: str) -> bool:
    """
    Whether an admitted pattern is found in every text: it needs no character and no place.
    """
    if _REFERENCE.search(source):
        return False
    # Imported here, because the analysis of patterns is not needed for most documents.
    from edictum.ruleset.patterns.needs import trim
    from edictum.ruleset.patterns.tree import parse

    return len(trim(parse(source))) == 0


def search_limit(source: str) -> int | None:
    """
    The length up to which a text is searched in any case, if that is less than for most patterns.
    """
    try:
        limit = admit(source).limit
    except PatternRefused:
        return None
    return limit if limit < MAX_MATCH_CHARS else None


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

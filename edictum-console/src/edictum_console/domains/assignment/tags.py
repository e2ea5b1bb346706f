"""
Tags: short texts that say what an agent is.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

_MOST = 64
_LONGEST_NAME = 128
_LONGEST_VALUE = 256


def problem(tags: Mapping[str, str]) -> str | None:
    """
    Say what is wrong with tags; None if nothing is.
    """
    if len(tags) > _MOST:
        return f"must be at most {_MOST} tags"
    for name, value in tags.items():
        if not 1 <= len(name) <= _LONGEST_NAME or len(value) > _LONGEST_VALUE:
            return f"names have 1 to {_LONGEST_NAME} characters, values at most {_LONGEST_VALUE}"
        if not (name + value).isprintable():
            return "must not hold control characters"
    return None


def from_query(text: str | None) -> dict[str, str] | None:
    """
    Read the tags that an agent reports in an address; None where they are no tags.
    """
    if not text:
        return {}
    try:
        tags = msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return tags if problem(tags) is None else None

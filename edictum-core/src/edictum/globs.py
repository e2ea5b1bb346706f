"""
Shell globs over tool names: ``*``, ``?`` and ``[seq]``, case-sensitive on every platform.

Used when a rule's tools are resolved for a tool name, never during a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from functools import lru_cache

_SPECIAL = frozenset("*?[")


def is_glob(pattern: str) -> bool:
    """
    Whether the text is more than an exact name.
    """
    return not _SPECIAL.isdisjoint(pattern)


@lru_cache(maxsize=4096)
def glob_matcher(pattern: str) -> Callable[[str], bool]:
    """
    Compile a glob to a test of a whole name.
    """
    if pattern == "*":
        return lambda name: True
    if not is_glob(pattern):
        return pattern.__eq__
    match = re.compile(translate(pattern)).match
    return lambda name: match(name) is not None

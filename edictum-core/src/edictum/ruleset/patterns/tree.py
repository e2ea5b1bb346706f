"""
Reading a parsed pattern: its nodes, their flags, where a match can begin, and what its end can waste.

The tree is that of the standard library's own parser: nodes are pairs of an operation and its arguments.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

Node = tuple[Any, Any]

UNBOUNDED = 256  # a repeat of more characters than this is counted like one without an end
REPEATS = frozenset({op.MAX_REPEAT, op.MIN_REPEAT})

_KINDS: int = op.SRE_FLAG_ASCII | op.SRE_FLAG_LOCALE | op.SRE_FLAG_UNICODE
_WARNING_FILTERS = threading.Lock()  # they belong to the process: two changes must not be undone crosswise


def parse(source: str) -> Any:
    """
    Parse a pattern, which means what the standard library makes of it today.

    The parser warns of ``[[a]`` and the like, whose meaning may change in a later Python. That is no
    matter of the process that loads a ruleset, so the warning goes no further.
    """
    with _WARNING_FILTERS, warnings.catch_warnings(action="ignore", category=FutureWarning):
        return _parser.parse(source)


def combine_flags(flags: int, added: int, removed: int) -> int:
    """
    Apply the flags of a group such as ``(?i-s:...)`` to those around it.
    """
    if added & _KINDS:
        flags &= ~_KINDS
    return (flags | added) & ~removed


def anchored(nodes: Any, flags: int) -> bool:
    """
    Tell whether a match can begin at the start of the text only.
    """
    if not len(nodes):
        return False
    kind, value = nodes[0]
    if kind is op.AT:
        return value is op.AT_BEGINNING_STRING or (value is op.AT_BEGINNING and not flags & op.SRE_FLAG_MULTILINE)
    if kind is op.SUBPATTERN:
        return anchored(value[3], combine_flags(flags, value[1], value[2]))
    return kind is op.BRANCH and all(anchored(branch, flags) for branch in value[1])


def begins_with_text(nodes: Any, flags: int) -> bool:
    """
    Tell whether the regex engine itself looks for fixed text at the start of a match, which is as fast.
    """
    if not len(nodes):
        return False
    kind, value = nodes[0]
    if kind is op.SUBPATTERN:
        return begins_with_text(value[3], combine_flags(flags, value[1], value[2]))
    return kind is op.LITERAL and not flags & op.SRE_FLAG_IGNORECASE


def least_distance(nodes: Iterable[Node], flags: int) -> int:
    """
    Tell how close two matches can begin, as far as the fixed text at the start of the pattern shows.
    """
    text = ""
    for kind, value in nodes:
        if kind is not op.LITERAL:
            break
        text += chr(value)
    if flags & op.SRE_FLAG_IGNORECASE:
        text = text.lower() if text.isascii() else ""
    return next((shift for shift in range(1, len(text)) if text.startswith(text[shift:])), max(1, len(text)))


# --- the end of a pattern, where a repeat that has its least rounds can no longer fail --------------


def unfailing_tail(nodes: Any) -> set[int]:
    """
    Find the repeats behind which nothing can fail: the last of the pattern, and optional ones before it.

    Returns:
        The ``id`` of the arguments of each such repeat.
    """
    found: set[int] = set()
    for kind, value in reversed(list(nodes)):
        if kind in REPEATS:
            found.add(id(value))
            if value[1] == 1:
                found |= unfailing_tail(value[2])
            if value[0] == 0:
                continue
        elif kind is op.SUBPATTERN:
            found |= unfailing_tail(value[3])
        elif kind is op.BRANCH:
            for branch in value[1]:
                found |= unfailing_tail(branch)
        break
    return found


def wasted(repeat: Any) -> int:
    """
    Bound the characters that a repeat at the end of a pattern reads without making them part of the match.

    Once its least rounds are read the match has succeeded, so only the begun round can be lost.
    """
    least, _, body = repeat
    return max(0, int(least) - 1) * int(body.getwidth()[1]) + _lost(body)


def _lost(nodes: Any) -> int:
    """
    Bound what is read in vain when a try to read these last nodes of a pattern fails.
    """
    lost = 0
    at_end = True
    for kind, value in reversed(list(nodes)):
        if at_end and kind in REPEATS:
            lost += wasted(value)
            at_end = value[0] == 0
        else:
            lost += _lost(value[3]) if at_end and kind is op.SUBPATTERN else _longest(kind, value)
            at_end = False
    return lost


def _longest(kind: Any, value: Any) -> int:
    if kind is op.AT:
        return 0
    if kind in REPEATS:
        return int(value[1]) * int(value[2].getwidth()[1])
    if kind is op.SUBPATTERN:
        return int(value[3].getwidth()[1])
    return 1 if kind in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN) else UNBOUNDED

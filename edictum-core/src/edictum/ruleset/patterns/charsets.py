"""
Sets of characters, as bit masks: one bit for each ASCII character, and one for each of four classes of others.

Sets are rounded up, so that two sets without a common bit have no common character.
"""

from __future__ import annotations

from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]

from edictum.ruleset.patterns.tree import Node

_ASCII = (1 << 128) - 1
_DIGIT, _WORD, _SPACE, _OTHER = (1 << bit for bit in range(128, 132))
ALL = (1 << 132) - 1

_ASCII_ONLY: int = op.SRE_FLAG_ASCII


def _of(characters: str) -> int:
    return sum(1 << ord(char) for char in characters)


_LOWER = _of("abcdefghijklmnopqrstuvwxyz")
_UPPER = _LOWER >> 32
_FOLDED = _of("iksIKS")  # the ASCII letters with partners outside ASCII

_ASCII_DIGITS = _of("0123456789")
_ASCII_WORD = _ASCII_DIGITS | _LOWER | _UPPER | _of("_")
_ASCII_SPACE = _of(" \t\n\r\f\v")
_ASCII_CATEGORIES = {"DIGIT": _ASCII_DIGITS, "WORD": _ASCII_WORD, "SPACE": _ASCII_SPACE}
_UNICODE_CATEGORIES = {
    "DIGIT": _ASCII_DIGITS | _DIGIT,
    "WORD": _ASCII_WORD | _DIGIT | _WORD,
    "SPACE": _ASCII_SPACE | _of("\x1c\x1d\x1e\x1f") | _SPACE,
}


def characters(node: Node, flags: int) -> int | None:
    """
    Return the characters that a one-character node reads, or None for any other node.
    """
    kind, value = node
    if kind is op.LITERAL:
        return _fold(_one(value), flags)
    if kind is op.NOT_LITERAL:
        return _class([(op.NEGATE, None), (op.LITERAL, value)], flags)
    if kind is op.ANY:
        return ALL if flags & op.SRE_FLAG_DOTALL else ALL & ~_of("\n")
    return _class(value, flags) if kind is op.IN else None


def _one(code: int) -> int:
    if code < 128:
        return 1 << code
    char = chr(code)
    if char.isdecimal():
        return _DIGIT
    if char.isspace():
        return _SPACE
    return _WORD if char.isalnum() else _OTHER


def _category(name: str, flags: int) -> int:
    sets = _ASCII_CATEGORIES if flags & _ASCII_ONLY else _UNICODE_CATEGORIES
    name = name.removeprefix("CATEGORY_")
    if name.startswith("NOT_"):
        return ALL & ~sets[name.removeprefix("NOT_")]
    return sets[name]


def _fold(mask: int, flags: int) -> int:
    if not flags & op.SRE_FLAG_IGNORECASE:
        return mask
    mask |= (mask & _LOWER) >> 32 | (mask & _UPPER) << 32
    if not flags & _ASCII_ONLY:
        if mask & _FOLDED:
            mask |= _WORD
        if mask & (_WORD | _OTHER):
            mask |= _FOLDED | _WORD | _OTHER
    return mask


def _class(items: Iterable[Node], flags: int) -> int:
    may = must = 0  # characters that may and that must belong to the listed items
    negated = False
    for kind, value in items:
        if kind is op.NEGATE:
            negated = True
        elif kind is op.LITERAL:
            may |= _one(value)
            must |= _one(value) & _ASCII
        elif kind is op.RANGE:
            low, high = value
            inside = _ASCII & ((1 << high + 1) - (1 << low)) if low < 128 else 0
            must |= inside
            may |= inside | (ALL & ~_ASCII if high > 127 else 0)
        else:
            category = _category(value.name, flags)
            may |= category
            must |= category
    if negated:  # folded within ASCII only: partners outside share their class with other characters
        return ALL & ~_fold(must, flags | _ASCII_ONLY)
    return _fold(may, flags)

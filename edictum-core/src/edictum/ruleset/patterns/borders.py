r"""
Patterns that cut a text into pieces of their own.

Every match of ``\b[\w.+-]+@[\w.-]+\.[a-z]{2,}\b`` holds one ``@``, which nothing else in the pattern can read.
So a match lies between the ``@`` before and the one behind, and where the tail does not match behind an ``@``
there is none.  That makes long texts searchable whose whole length would be too much.
"""

from __future__ import annotations

from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from edictum.ruleset.patterns.charsets import characters
from edictum.ruleset.patterns.tree import REPEATS, Node, combine_flags

_WORD_EDGES = frozenset({op.AT_BOUNDARY, op.AT_NON_BOUNDARY})


class Border(NamedTuple):
    """
    The character that every match holds once.

    Attributes:
        char: The character.
        tail: What follows it, as a tree that matches at the start of a text only.
    """

    char: str
    tail: Any


def find_border(tree: Any) -> Border | None:
    """
    Find the border of a pattern; None when it has none.
    """
    flags = tree.state.flags
    nodes = list(tree)
    for at, (kind, value) in enumerate(nodes):
        if kind is not op.LITERAL:
            continue
        char = chr(value)
        mask = characters((kind, value), flags)
        if mask is None or not char.isascii() or char.isalnum():
            continue  # letters and digits are too common, and may have two cases
        others = nodes[:at] + nodes[at + 1 :]
        tail = _parser.SubPattern(tree.state, nodes[at + 1 :])
        # A tail without length could end behind the next border, which is out of sight there.
        if tail.getwidth()[0] and not any(_may_read(node, mask, flags) for node in others):
            return Border(char, _parser.SubPattern(tree.state, [(op.AT, op.AT_BEGINNING_STRING), *nodes[at + 1 :]]))
    return None


def _may_read(node: Node, mask: int, flags: int) -> bool:
    """
    Whether a node can read one of these characters, or looks at its surroundings further than one character.
    """
    own = characters(node, flags)
    if own is not None:
        return bool(own & mask)
    kind, value = node
    if kind in REPEATS:
        return any(_may_read(item, mask, flags) for item in value[2])
    if kind is op.SUBPATTERN:
        inner = combine_flags(flags, value[1], value[2])
        return any(_may_read(item, mask, inner) for item in value[3])
    if kind is op.BRANCH:
        return any(_may_read(item, mask, flags) for branch in value[1] for item in branch)
    return kind is not op.AT or value not in _WORD_EDGES

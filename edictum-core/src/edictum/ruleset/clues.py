"""
What a call must hold for a rule to fire, as far as texts tell.

Most rules look for a few texts in a field of the call, and most calls hold none of them.  To look for the texts takes
a fraction of the time that judging the rules takes, so the engine does that first, see :class:`Clue`.
"""

from __future__ import annotations

from edictum.ruleset.patterns import admit
from edictum.ruleset.policy import Clue
from edictum.ruleset.selectors import Reader, compile_selector, split
from edictum.ruleset.syntax import All, Expression, Leaf, Not

MAX_PARTS = 8  # of one leaf; to look for more takes longer than to judge it


def clues_of(expression: Expression) -> tuple[Clue, ...] | None:
    """
    The clues of which a call gives at least one wherever an expression holds, or raises.

    Returns:
        The clues; None where the expression must be judged in any case.
    """
    if isinstance(expression, Leaf):
        return _clues_of_leaf(expression)
    if isinstance(expression, Not):
        return None
    if isinstance(expression, All):
        return clues_of(expression.items[0])  # unless this one holds, the others are not reached and cannot raise
    found: list[Clue] = []
    for item in expression.items:
        clues = clues_of(item)
        if clues is None:
            return None
        found += clues
    return tuple(found)


def _clues_of_leaf(leaf: Leaf) -> tuple[Clue, ...] | None:
    read: Reader | None = None  # of a text that a tool returned, the only form is the text itself
    if leaf.selector != "output.text":
        if split(leaf.selector)[0] not in ("args", "principal", "environment"):
            return None
        read = compile_selector(leaf.selector, custom={}, environ={})
        if read is None:
            return None
    if leaf.operator in ("equals", "in"):
        items = leaf.operand if leaf.operator == "in" else [leaf.operand]
        return (Clue(leaf.selector, read, frozenset(item for item in items if type(item) is str), ()),)
    parts = _parts(leaf)
    if not parts or "" in parts or len(parts) > MAX_PARTS:
        return None
    return (Clue(leaf.selector, read, frozenset(), tuple(parts)),)


def _parts(leaf: Leaf) -> list[str]:
    """
    Texts one of which a text must contain for a leaf to hold; an empty one says nothing.
    """
    if leaf.operator in ("contains", "starts_with", "ends_with"):
        return [leaf.operand]
    if leaf.operator == "contains_any":
        return list(leaf.operand)
    if leaf.operator == "matches":
        return [admit(leaf.operand).wanted]
    if leaf.operator == "matches_any":
        return [admit(source).wanted for source in leaf.operand]
    return []

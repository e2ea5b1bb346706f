"""
Writing a part of a parsed pattern as text again, for an error message: the parser keeps no positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from typing import Any

from edictum.ruleset.patterns.tree import REPEATS, Node

_SIGNS = {
    "CATEGORY_DIGIT": r"\d", "CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S", "CATEGORY_WORD": r"\w", "CATEGORY_NOT_WORD": r"\W",
    "AT_BEGINNING": "^", "AT_BEGINNING_STRING": r"\A", "AT_BOUNDARY": r"\b", "AT_NON_BOUNDARY": r"\B",
    "AT_END": "$", "AT_END_STRING": r"\Z",
}  # fmt: skip
_LOOK_SIGNS = {
    (op.ASSERT, 1): "?=",
    (op.ASSERT, -1): "?<=",
    (op.ASSERT_NOT, 1): "?!",
    (op.ASSERT_NOT, -1): "?<!",
}


def render(nodes: Iterable[Node]) -> str:
    """
    Write parsed nodes as a pattern that means the same.
    """
    return "".join(_render_node(kind, value) for kind, value in nodes)


def _render_node(kind: Any, value: Any) -> str:
    if kind is op.LITERAL:
        return re.escape(chr(value))
    if kind is op.NOT_LITERAL:
        return f"[^{re.escape(chr(value))}]"
    if kind is op.ANY:
        return "."
    if kind is op.AT:
        return _SIGNS[value.name]
    if kind is op.IN:
        return _render_class(value)
    if kind is op.BRANCH:
        return "(?:" + "|".join(render(branch) for branch in value[1]) + ")"
    if kind is op.SUBPATTERN:
        return f"({'' if value[0] else '?:'}{render(value[3])})"
    if kind is op.ATOMIC_GROUP:
        return f"(?>{render(value)})"
    if kind in REPEATS or kind is op.POSSESSIVE_REPEAT:
        return _render_repeat(kind, *value)
    if kind in (op.ASSERT, op.ASSERT_NOT):
        return f"({_LOOK_SIGNS[kind, value[0]]}{render(value[1])})"
    if kind is op.GROUPREF:
        return f"\\{value}"
    if kind is op.FAILURE:
        return "(?!)"
    return f"(?({value[0]})...)" if kind is op.GROUPREF_EXISTS else str(kind)


def _render_class(items: Sequence[Node]) -> str:
    signs = []
    for kind, value in items:
        if kind is op.NEGATE:
            signs.append("^")
        elif kind is op.LITERAL:
            signs.append(re.escape(chr(value)))
        elif kind is op.RANGE:
            signs.append(f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}")
        else:
            signs.append(_SIGNS[value.name])
    text = "".join(signs)
    return text if len(items) == 1 and items[0][0] is op.CATEGORY else f"[{text}]"


def _render_repeat(kind: Any, least: Any, most: Any, body: Sequence[Node]) -> str:
    text = render(body)
    if len(body) != 1 or body[0][0] in REPEATS:  # 'a+' repeated is not the possessive 'a++'
        text = f"(?:{text})"
    if most is op.MAXREPEAT:
        text += {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    elif (least, most) == (0, 1):
        text += "?"
    else:
        text += f"{{{least}}}" if least == most else f"{{{least},{most}}}"
    return text + {op.MAX_REPEAT: "", op.MIN_REPEAT: "?", op.POSSESSIVE_REPEAT: "+"}[kind]

"""
Judging a condition on a call of which the decision log holds only a part.

A log is redacted: secrets are masked, long texts are cut, large arguments are left out, and variables of the
environment were never in it.  So a test has a set of possible outcomes, and a condition is certain only if all of them
agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edictum.ruleset.expressions import Names, compile_expression
from edictum.ruleset.operators import compile_operator
from edictum.ruleset.selectors import split
from edictum.ruleset.syntax import All, Expression, Leaf, Not
from edictum.tool_call import ToolCall

# Possible outcomes, as bits: the condition holds, does not hold, or cannot be judged.
HOLDS, FAILS, BREAKS = 1, 2, 4
ANYTHING = HOLDS | FAILS | BREAKS

# Values that no log holds.
NOT_LOGGED = frozenset(("env", "metadata"))

_MASK = re.compile(r"\[REDACTED\]|\n?\[\d+ characters left out\]\n?")
_STAND_INS = re.compile(
    r"\[REDACTED\]|\[left out: arguments exceed 8 KB\]|\[too large to show\]|\[nested too deep\]|\[refers to itself\]"
    r"|\[\d+ bytes\]|\[\w+ without text\]"
)
_NOTES = frozenset(("_redacted", "_left_out", "_truncated"))
# A text is cut to 1,000 characters with dots at its end, or a little shorter so as not to cut a mask in two.
_CUT = "..."
_LEAST_CUT = 900
# Put in place of what is hidden; what is found with all of these does not depend on it.
_FILLERS = ("", "x", " ", "0", "/", "\n", "-a b_" * 800)
# Looks at what is behind the match, up to the end of the text.
_FAR_LOOKING = re.compile(r"\$|\\[zZ]|\(\?<?[=!]")


def is_partial(value: Any) -> bool:
    """
    Whether something in a logged value is masked, cut or left out.
    """
    if isinstance(value, str):
        return _is_stand_in(value) or len(_fragments(value)) > 1
    if isinstance(value, Mapping):
        return _is_incomplete(value) or any(is_partial(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(is_partial(item) for item in value)


def _is_stand_in(text: str) -> bool:
    return _STAND_INS.fullmatch(text) is not None


def _is_incomplete(mapping: Mapping[str, Any]) -> bool:
    """
    Whether a mapping may have had other keys.
    """
    return not _NOTES.isdisjoint(mapping) or any(len(_fragments(key)) > 1 or key.endswith(_CUT) for key in mapping)


def _fragments(text: str) -> list[str]:
    """
    The parts of a text that are known, with something unknown between each two.
    """
    cut = len(text) >= _LEAST_CUT and text.endswith(_CUT)
    fragments = _MASK.split(text[: -len(_CUT)] if cut else text)
    return [*fragments, ""] if cut else fragments


def judge_partial(expression: Expression, call: ToolCall, unknown: list[str]) -> int:
    """
    Find the possible outcomes of a condition.

    Args:
        expression: The condition; it names nothing that has to be registered.
        call: The call as it was logged.
        unknown: Takes the selectors of the tests whose outcome is not certain.

    Returns:
        Some of :data:`HOLDS`, :data:`FAILS` and :data:`BREAKS`.
    """
    if isinstance(expression, Leaf):
        outcome = _judge_leaf(expression, call)
        if outcome not in (HOLDS, FAILS, BREAKS) and expression.selector not in unknown:
            unknown.append(expression.selector)
        return outcome
    if isinstance(expression, Not):
        outcome = judge_partial(expression.item, call, unknown)
        swapped = {HOLDS: FAILS, FAILS: HOLDS}
        return outcome & BREAKS | sum(new for old, new in swapped.items() if outcome & old)
    passes, ends = (HOLDS, FAILS) if isinstance(expression, All) else (FAILS, HOLDS)
    found = 0
    for item in expression.items:
        outcome = judge_partial(item, call, unknown)
        found |= outcome & (ends | BREAKS)
        if not outcome & passes:
            return found
    return found | passes


def _judge_leaf(leaf: Leaf, call: ToolCall) -> int:
    root, path = split(leaf.selector)
    if root in NOT_LOGGED:
        return ANYTHING
    value: Any = None
    if root == "args":
        known, value = _find(call.args, path)
    elif leaf.selector.startswith("principal.") and call.principal is not None:
        known, value = _find(call.principal.to_dict(), path)
    else:
        known = True
    if not known:
        return ANYTHING
    if isinstance(value, str) and _is_stand_in(value):
        return ANYTHING  # even null is masked under a name that sounds secret
    if leaf.operator == "exists" or not is_partial(value):
        return _outcome(leaf, call)
    return _judge_text(leaf, _fragments(value)) if isinstance(value, str) else ANYTHING


def _find(value: Any, path: Sequence[str]) -> tuple[bool, Any]:
    """
    Follow a path; says first whether what is found, or that nothing is, is certain.
    """
    for step in path:
        if isinstance(value, str) and _is_stand_in(value):
            return False, None
        if not isinstance(value, Mapping):
            return True, None
        if step not in value and _is_incomplete(value):
            return False, None
        value = value.get(step)
    return True, value


def _outcome(leaf: Leaf, call: ToolCall) -> int:
    try:
        return HOLDS if compile_expression(leaf, Names())(call, None) else FAILS
    except Exception:
        return BREAKS


# --- texts of which parts are known ---------------------------------------------------------------


def _judge_text(leaf: Leaf, fragments: Sequence[str]) -> int:
    operator, operand = leaf.operator, leaf.operand
    if operator in ("equals", "in", "not_equals", "not_in"):
        operands = operand if operator in ("in", "not_in") else [operand]
        if any(isinstance(item, str) and _may_be(fragments, item) for item in operands):
            return HOLDS | FAILS
        return HOLDS if operator.startswith("not") else FAILS
    if operator in ("contains", "contains_any"):
        found = any(text in part for text in _listed(operand) for part in fragments)
        return HOLDS if found else HOLDS | FAILS
    if operator == "starts_with":
        return _judge_end(fragments[0].startswith(operand), operand.startswith(fragments[0]))
    if operator == "ends_with":
        return _judge_end(fragments[-1].endswith(operand), operand.endswith(fragments[-1]))
    if operator in ("matches", "matches_any"):
        return HOLDS if any(_is_found(source, fragments) for source in _listed(operand)) else HOLDS | FAILS
    return BREAKS  # a number was expected, and this is a text


def _listed(operand: Any) -> Iterator[str]:
    return iter([operand] if isinstance(operand, str) else operand)


def _judge_end(holds: bool, possible: bool) -> int:
    if holds:
        return HOLDS
    return HOLDS | FAILS if possible else FAILS


def _may_be(fragments: Sequence[str], text: str) -> bool:
    """
    Whether a text can be the one whose fragments these are.
    """
    first, *between, last = fragments
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for fragment in between:
        found = text.find(fragment, at, end)
        if found < 0:
            return False
        at = found + len(fragment)
    return True


def _is_found(source: str, fragments: Sequence[str]) -> bool:
    """
    Whether a pattern is found whatever is hidden between the fragments.
    """
    if _FAR_LOOKING.search(source):
        return False
    test = compile_operator("matches", source, {})
    assert test is not None
    try:
        return all(test(filler.join(fragments)) for filler in _FILLERS)
    except ValueError:
        return False  # too long for the pattern

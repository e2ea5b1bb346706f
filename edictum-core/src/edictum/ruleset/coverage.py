"""
Which calls a condition or a tool pattern takes from another one.

Everything here is one-sided: yes is certain, no only means that it could not be shown.  A rule also fires when its
condition cannot be judged, so "fires" stands for both: the condition is true, or judging it fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from edictum.globs import glob_matcher, is_glob
from edictum.ruleset.operators import compile_operator, same
from edictum.ruleset.selectors import split
from edictum.ruleset.syntax import All, Expression, Leaf, Not
from edictum.ruleset.vocabulary import BUILTIN_OPERATORS, SELECTOR_ROOTS

# Selectors whose value is always there, and those whose value is always text.
ALWAYS_PRESENT = frozenset(("environment", "tool.name"))
ALWAYS_TEXT = ALWAYS_PRESENT | {"output.text"}
NUMERIC = frozenset(("gt", "gte", "lt", "lte"))
# Operators that judge a value of any type, so that a condition made of them never fails.
_NEVER_FAILING = frozenset(("exists", "equals", "not_equals", "in", "not_in"))
_MAX_STEPS = 300_000
_MAX_GLOB = 512
_REFERENCE = re.compile(r"\\[1-9]|\(\?P=|\(\?\(")

Kind: TypeAlias = Literal["leaf", "all", "any", "not", "true", "false"]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """
    A condition for comparing: simplified, and with a key that is the same for equal conditions.

    Attributes:
        kind: ``true`` and ``false`` are conditions that hold for every call, or for none.
        key: Text that two conditions share only if they are equal.
        items: What a connective connects.
        leaf: Of a leaf.
        careful: Whether judging it can never fail.
    """

    kind: Kind
    key: str
    items: tuple[Node, ...] = ()
    leaf: Leaf | None = None
    careful: bool = True


TRUE = Node("true", "true")
FALSE = Node("false", "false")


def simplify(expression: Expression, tools: Sequence[str]) -> Node:
    """
    Bring a condition into the form that is compared.

    Args:
        expression: The condition.
        tools: Tool patterns of its rule, which decide about some tests of ``tool.name``.
    """
    if isinstance(expression, Leaf):
        return _leaf(expression, tools)
    if isinstance(expression, Not):
        return _negated(simplify(expression.item, tools))
    items = tuple(simplify(item, tools) for item in expression.items)
    return _connected("all" if isinstance(expression, All) else "any", items)


def _leaf(leaf: Leaf, tools: Sequence[str]) -> Node:
    verdict = leaf_verdict(leaf, tools)
    if verdict is not None:
        return TRUE if verdict else FALSE
    key = json.dumps([leaf.selector, leaf.operator, leaf.operand], sort_keys=True)
    return Node("leaf", key, leaf=leaf, careful=leaf.operator in _NEVER_FAILING and _is_built_in(leaf))


def _negated(item: Node) -> Node:
    if item.kind == "not":
        return item.items[0]
    if item.kind == "false":
        return TRUE
    if item.kind == "true":
        return FALSE
    if item.leaf is not None and item.leaf.operator == "exists":
        return _leaf(replace(item.leaf, operand=not item.leaf.operand), ())
    return Node("not", f"not({item.key})", (item,), careful=item.careful)


def _connected(kind: Literal["all", "any"], items: tuple[Node, ...]) -> Node:
    ends, passes = ("false", "true") if kind == "all" else ("true", "false")
    kept: list[Node] = []
    for item in items:
        if item.kind == ends and all(known.careful for known in kept):
            return item
        if item.kind != passes:
            kept.append(item)
    if not kept:
        return TRUE if kind == "all" else FALSE
    if len(kept) == 1:
        return kept[0]
    key = f"{kind}({','.join(item.key for item in kept)})"
    return Node(kind, key, tuple(kept), careful=all(item.careful for item in kept))


def _is_built_in(leaf: Leaf) -> bool:
    return split(leaf.selector)[0] in SELECTOR_ROOTS and leaf.operator in BUILTIN_OPERATORS


# --- single tests ---------------------------------------------------------------------------------


def constants(leaf: Leaf) -> list[Any] | None:
    """
    The values for which a test of equality holds; None for any other test.  A value that is null never holds.
    """
    if leaf.operator == "equals":
        return [] if leaf.operand is None else [leaf.operand]
    if leaf.operator == "in":
        return [item for item in leaf.operand if item is not None]
    return None


def excluded(leaf: Leaf) -> list[Any] | None:
    """
    The values for which a test of inequality does not hold; None for any other test.
    """
    if leaf.operator == "not_equals":
        return [leaf.operand]
    return list(leaf.operand) if leaf.operator == "not_in" else None


def leaf_verdict(leaf: Leaf, tools: Sequence[str]) -> bool | None:
    """
    Whether a test holds for every call that its rule concerns (True), for none (False), or for some.
    """
    found = constants(leaf)
    if found == []:
        return False
    if leaf.selector in ALWAYS_TEXT and found is not None:
        found = [item for item in found if isinstance(item, str)]
        if not found:
            return False
    if leaf.selector == "tool.name" and found is not None and tools:
        if not any(glob_matcher(tool)(name) for tool in tools for name in found):
            return False
        if all(not is_glob(tool) and tool in found for tool in tools):
            return True
    if leaf.selector in ALWAYS_PRESENT:
        if leaf.operator == "exists":
            return bool(leaf.operand)
        if fires_when_present(leaf):
            return True
    return None


def fires_when_present(leaf: Leaf) -> bool:
    """
    Whether a test fires for every value that is there.
    """
    operand = leaf.operand
    if leaf.operator == "exists":
        return operand is True
    if leaf.operator in ("contains", "starts_with", "ends_with"):
        return bool(operand == "")
    if leaf.operator == "contains_any":
        return "" in operand
    if leaf.operator == "matches":
        return matches_everything(operand)
    return leaf.operator == "matches_any" and any(matches_everything(source) for source in operand)


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


def fires_on(leaf: Leaf, value: Any) -> bool:
    """
    Whether a test fires for a value that is there.
    """
    test = compile_operator(leaf.operator, leaf.operand, {})
    assert test is not None
    if leaf.operator == "exists":
        return leaf.operand is True
    try:
        return test(value)
    except Exception:
        return True


# --- conditions -----------------------------------------------------------------------------------


class Coverage:
    """
    Tells whether one condition fires wherever another one does.

    The work is bounded: after some hundred thousand steps the answer to everything is no.
    """

    def __init__(self) -> None:
        self._steps = _MAX_STEPS

    @property
    def exhausted(self) -> bool:
        """
        Whether there is no point in asking any more.
        """
        return self._steps < 0

    def covers(self, wide: Node, narrow: Node) -> bool:
        """
        Whether ``wide`` fires for every call for which ``narrow`` fires.
        """
        self._steps -= 1
        if self._steps < 0 or narrow.kind == "false":
            return False
        if wide.kind == "true" or wide.key == narrow.key:
            return True
        if narrow.kind == "any":
            return all(self.covers(wide, item) for item in narrow.items)
        if wide.kind == "all":
            return all(self.covers(item, narrow) for item in wide.items)
        if wide.kind == "any" and any(self.covers(item, narrow) for item in wide.items):
            return True
        if narrow.kind == "all":
            return any(self.covers(wide, item) for item in _certain(narrow.items))
        if wide.leaf is not None and narrow.leaf is not None:
            return _leaf_covers(wide.leaf, narrow.leaf)
        if wide.kind == narrow.kind == "not" and wide.careful and narrow.careful:
            return self.covers(narrow.items[0], wide.items[0])
        return False


def _certain(items: Sequence[Node]) -> Iterator[Node]:
    """
    The items that fire whenever their ``all`` does: those with none before them that can fail.
    """
    for item in items:
        yield item
        if not item.careful:
            return


def _leaf_covers(wide: Leaf, narrow: Leaf) -> bool:
    if wide.selector != narrow.selector or not _is_built_in(wide) or not _is_built_in(narrow):
        return False
    if narrow.operator == "exists":
        same_demand = wide.operator == "exists" and wide.operand is narrow.operand
        return same_demand or (narrow.operand is True and fires_when_present(wide))
    if fires_when_present(wide):
        return True
    if wide.operator == "exists":
        return False
    values = constants(narrow)
    if values is not None:
        # A variable of the environment is compared in two forms, so its value is not known.
        return split(wide.selector)[0] != "env" and all(fires_on(wide, value) for value in values)
    ours, theirs = excluded(wide), excluded(narrow)
    if ours is not None and theirs is not None:
        return all(any(same(item, other) for other in theirs) for item in ours)
    if narrow.operator in NUMERIC and wide.operator in NUMERIC:
        return _bound_covers(wide, narrow)
    return _text_covers(wide, narrow)


def _bound_covers(wide: Leaf, narrow: Leaf) -> bool:
    if wide.operator[0] != narrow.operator[0]:
        return False
    inclusive = narrow.operator.endswith("te") and not wide.operator.endswith("te")
    if wide.operand == narrow.operand:
        return not inclusive
    return bool(narrow.operand > wide.operand) is wide.operator.startswith("g")


_CONTAINING = {"contains": "contains", "contains_any": "contains"}
_MATCHING = {"matches": "matches", "matches_any": "matches"}
_Test: TypeAlias = Callable[[str, str], bool]
_TEXT_TESTS: dict[tuple[str, str], _Test] = {
    ("contains", "contains"): lambda wide, narrow: wide in narrow,
    ("contains", "starts_with"): lambda wide, narrow: wide in narrow,
    ("contains", "ends_with"): lambda wide, narrow: wide in narrow,
    ("starts_with", "starts_with"): lambda wide, narrow: narrow.startswith(wide),
    ("ends_with", "ends_with"): lambda wide, narrow: narrow.endswith(wide),
    ("matches", "matches"): lambda wide, narrow: wide == narrow,
}


def _text_covers(wide: Leaf, narrow: Leaf) -> bool:
    kinds = [_CONTAINING.get(leaf.operator) or _MATCHING.get(leaf.operator, leaf.operator) for leaf in (wide, narrow)]
    test = _TEXT_TESTS.get((kinds[0], kinds[1]))
    if test is None:
        return False
    return all(any(test(ours, theirs) for ours in _texts(wide)) for theirs in _texts(narrow))


def _texts(leaf: Leaf) -> Iterable[str]:
    return [leaf.operand] if isinstance(leaf.operand, str) else leaf.operand


# --- tools ----------------------------------------------------------------------------------------


def covers_tools(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    """
    Whether every tool that one list of patterns matches is matched by the other as well.
    """
    return all(any(covers_glob(ours, theirs) for ours in wide) for theirs in narrow)


_TOKEN = re.compile(r"\*+|\?|\[!?+\]?+[^\]]*\]|.", re.DOTALL)


@lru_cache(maxsize=4096)
def covers_glob(wide: str, narrow: str) -> bool:
    """
    Whether every name that ``narrow`` matches is matched by ``wide``.
    """
    if wide == narrow or wide == "*":
        return True
    if not is_glob(narrow):
        return glob_matcher(wide)(narrow)
    if not is_glob(wide) or len(wide) > _MAX_GLOB or len(narrow) > _MAX_GLOB:
        return False
    # Positions in the tokens of the narrow pattern that can be reached with the tokens so far of the wide one.
    theirs = [match.group() for match in _TOKEN.finditer(narrow)]
    reached = {0}
    for match in _TOKEN.finditer(wide):
        token = match.group()
        if token[0] == "*":
            reached = set(range(min(reached), len(theirs) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(theirs) and _covers_one(token, theirs[at])}
        if not reached:
            return False
    return len(theirs) in reached


def _covers_one(token: str, other: str) -> bool:
    """
    Whether a token for one character matches every character that another token matches.
    """
    if other[0] == "*":
        return False
    if token == "?" or token == other:
        return True
    return len(token) > 1 and len(other) == 1 and other != "?" and fnmatchcase(other, token)

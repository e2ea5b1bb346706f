"""
What is wrong inside the condition of one rule.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

from edictum.lint.patterns import doubled_escape, holds_backspace, limited, risky
from edictum.lint.report import Findings
from edictum.lint.subject import LintedRule, Subject
from edictum.ruleset.comparison import expression_key
from edictum.ruleset.coverage import (
    ALWAYS_TEXT,
    NUMERIC,
    constants,
    covers_tools,
    excluded,
    fires_on,
    fires_when_present,
    leaf_verdict,
    simplify,
)
from edictum.ruleset.operators import same
from edictum.ruleset.problems import Path, quote
from edictum.ruleset.selectors import split
from edictum.ruleset.syntax import All, AnyOf, Expression, Leaf, Not, PostRule, PreRule
from edictum.ruleset.vocabulary import AFTER_CALL_ROOTS, BUILTIN_OPERATORS, SELECTOR_ROOTS

_NEGATIVE = frozenset(("not_equals", "not_in"))
# Roots of values that the agent or the tool gives: the tool may insist on them, so their absence is less likely.
_GIVEN_BY_CALL = frozenset(("args", "result"))
_MAX_COMPARED = 200  # conditions of one list


def check_conditions(subject: Subject, findings: Findings) -> None:
    """
    Look into the conditions of all pre and post rules of the file.
    """
    for linted in subject.rules:
        rule = linted.rule
        if linted.path is not None and isinstance(rule, PreRule | PostRule):
            _Conditions(subject, findings, linted, rule).check(rule.when, (*linted.path, "when"), True)


class _Conditions:
    """
    The condition of one rule.
    """

    def __init__(self, subject: Subject, findings: Findings, linted: LintedRule, rule: PreRule | PostRule) -> None:
        self._subject = subject
        self._findings = findings
        self._linted = linted
        self._rule = rule

    def check(self, expression: Expression, path: Path, positive: bool) -> None:
        """
        Check an expression and what is in it.

        Args:
            expression: The expression.
            path: Where it stands.
            positive: Whether it stands under an even number of ``not``.
        """
        if isinstance(expression, Leaf):
            self._leaf(expression, (*path, expression.selector, expression.operator), positive)
        elif isinstance(expression, Not):
            self.check(expression.item, (*path, "not"), not positive)
        else:
            word = "all" if isinstance(expression, All) else "any"
            self._list(expression, (*path, word))
            for place, item in enumerate(expression.items):
                self.check(item, (*path, word, place), positive)

    def _add(self, check: str, path: Path, message: str, **more: Any) -> None:
        self._findings.add(check, path, message, rule=self._rule.id, **more)

    # --- one test -------------------------------------------------------------------------------

    def _leaf(self, leaf: Leaf, path: Path, positive: bool) -> None:
        root = split(leaf.selector)[0]
        if leaf_verdict(leaf, self._rule.tools) is False:
            self._never(leaf, path)
        elif leaf.operator in NUMERIC and leaf.selector in ALWAYS_TEXT:
            self._add("always-fires", path, f"{quote(leaf.selector)} is text; {leaf.operator} compares numbers")
        elif fires_when_present(leaf) and leaf.operator != "exists" and not self._selects_output(root):
            self._everything(leaf, path)
        elif positive and leaf.operator in _NEGATIVE and leaf.selector not in ALWAYS_TEXT:
            self._negative(leaf, path, root)
        if leaf.operator in ("matches", "matches_any"):
            for place, source in enumerate([leaf.operand] if leaf.operator == "matches" else leaf.operand):
                self._pattern(source, path if leaf.operator == "matches" else (*path, place))

    def _never(self, leaf: Leaf, path: Path) -> None:
        fix = None
        if constants(leaf) == []:
            message, fix = f"nothing equals null: {quote(leaf.selector)} is then missing", "Write exists: false."
        elif leaf.operator == "exists":
            message = f"{quote(leaf.selector)} is never missing"
        elif leaf.selector == "tool.name":
            message = "the rule concerns no tool of that name"
            fix = "Correct the name, or the tools of the rule."
        else:
            message = f"{quote(leaf.selector)} is text, and never equal to anything else"
        self._add("never-true", path, message, fix=fix)

    def _selects_output(self, root: str) -> bool:
        """
        Whether the test says what to mask rather than when: then it may well be everything.
        """
        return root in AFTER_CALL_ROOTS and self._rule.action == "redact"

    def _everything(self, leaf: Leaf, path: Path) -> None:
        pattern = leaf.operator in ("matches", "matches_any")
        what = "the pattern is in every text" if pattern else "every text contains the empty text"
        self._add("matches-everything", path, f"{what}, so {quote(leaf.selector)} only has to be there")

    def _negative(self, leaf: Leaf, path: Path, root: str) -> None:
        others = (other for other in self._linted.leaves if other.selector == leaf.selector)
        if any(other.operator not in _NEGATIVE for other in others) or self._missing_is_covered(leaf):
            return
        positive = {"not_equals": "equals", "not_in": "in"}[leaf.operator]
        sure = root in SELECTOR_ROOTS and root not in _GIVEN_BY_CALL
        self._add(
            "negative-on-missing",
            path,
            f"{leaf.operator} is false where {quote(leaf.selector)} is missing, so the rule does not fire",
            fix=f"Write not: {{{leaf.selector}: {{{positive}: ...}}}}, or add {{{leaf.selector}: {{exists: false}}}}.",
            severity="warning" if sure else "note",
        )

    def _missing_is_covered(self, leaf: Leaf) -> bool:
        """
        Whether another rule fires where this one would if it saw that the value is missing.
        """
        missing = simplify(_replaced(self._rule.when, leaf), self._rule.tools)
        for other in self._subject.rules:
            rule = other.rule
            if (
                other is not self._linted
                and isinstance(rule, PreRule | PostRule)
                and type(rule) is type(self._rule)
                and (rule.mode == "enforce" or self._rule.mode == "observe")
                and covers_tools(rule.tools, self._rule.tools)
                and self._subject.coverage.covers(other.node, missing)
            ):
                return True
        return False

    def _pattern(self, source: str, path: Path) -> None:
        for check, what in (("limited-pattern", limited(source)), ("risky-pattern", risky(source))):
            if what is not None:
                self._add(check, path, what)
        if holds_backspace(source):
            self._add("backspace-in-pattern", path, "the pattern holds the character U+0008")
        doubled = doubled_escape(source)
        if doubled is not None:
            self._add("doubled-escape", path, f"{doubled} in the pattern demands a backslash in the text")

    # --- lists ----------------------------------------------------------------------------------

    def _list(self, expression: All | AnyOf, path: Path) -> None:
        first: dict[str, int] = {}
        for place, item in enumerate(expression.items):
            key = expression_key(item)
            if key in first:
                self._add("duplicate-condition", (*path, place), f"the same as item {first[key]} of the list")
            first.setdefault(key, place)
        leaves = [(place, item) for place, item in enumerate(expression.items) if isinstance(item, Leaf)]
        for (place, one), (other_place, other) in combinations(leaves[:_MAX_COMPARED], 2):
            if one.selector != other.selector or not (_is_comparable(one) and _is_comparable(other)):
                continue
            if isinstance(expression, All):
                if _contradict(one, other) or _contradict(other, one):
                    message = f"no value of {quote(one.selector)} passes this and item {place} of the list"
                    fix = "Write any instead of all if one of them is enough; otherwise correct one of them."
                    self._add("never-true", (*path, other_place), message, fix=fix)
            elif _leave_nothing(one, other):
                message = f"every value of {quote(one.selector)} passes this or item {place} of the list"
                fix = "Write all instead of any, or not_in with both values."
                self._add("matches-everything", (*path, other_place), message, fix=fix)


# A variable of the environment and the text of an output are judged in two forms, and each may pass another test.
_COMPARABLE = frozenset(SELECTOR_ROOTS) - {"env", "output"}


def _is_comparable(leaf: Leaf) -> bool:
    return split(leaf.selector)[0] in _COMPARABLE and leaf.operator in BUILTIN_OPERATORS


def _replaced(expression: Expression, leaf: Leaf) -> Expression:
    """
    The expression with a test replaced by the demand that the value is missing.
    """
    if expression is leaf:
        return Leaf(leaf.selector, "exists", False)
    if isinstance(expression, Leaf):
        return expression
    if isinstance(expression, Not):
        return Not(_replaced(expression.item, leaf))
    return replace(expression, items=tuple(_replaced(item, leaf) for item in expression.items))


def _contradict(one: Leaf, other: Leaf) -> bool:
    """
    Whether no value passes both tests.
    """
    values = constants(one)
    if values is not None:
        return bool(values) and not any(fires_on(other, value) for value in values)
    if one.operator == "exists":
        return one.operand is False and not (other.operator == "exists" and other.operand is False)
    if one.operator in ("gt", "gte") and other.operator in ("lt", "lte"):
        strict = one.operator == "gt" or other.operator == "lt"
        return bool(one.operand >= other.operand if strict else one.operand > other.operand)
    if one.operator == other.operator == "starts_with":
        return not (one.operand.startswith(other.operand) or other.operand.startswith(one.operand))
    if one.operator == other.operator == "ends_with":
        return not (one.operand.endswith(other.operand) or other.operand.endswith(one.operand))
    return False


def _leave_nothing(one: Leaf, other: Leaf) -> bool:
    """
    Whether every value that is there passes one of two negative tests.
    """
    ours, theirs = excluded(one), excluded(other)
    if ours is None or theirs is None:
        return False
    return not any(same(item, other_item) for item in ours for other_item in theirs)

"""
Shape checks of ``when``: connectives, selectors, operators and operands.
"""

from __future__ import annotations

import math
from typing import Any

from edictum.ruleset.patterns import PatternRefused, admit
from edictum.ruleset.problems import Path, Problems, choices, did_you_mean, quote, render
from edictum.ruleset.syntax import All, AnyOf, Expression, Leaf, Not
from edictum.ruleset.vocabulary import (
    AFTER_CALL_ROOTS,
    BUILTIN_OPERATORS,
    CONNECTIVES,
    MAX_EXPRESSION_DEPTH,
    SELECTOR_MAPS,
    SELECTOR_ROOTS,
)

_NOTHING = All(())  # stands for an expression with problems; the ruleset is refused then


class ExpressionReader:
    """
    Reads the expressions of one document.

    Args:
        problems: Where problems are noted.
        operators: Names of custom operators; None when unknown operators are to be let through.
        selectors: Roots of custom selectors; None when unknown roots are to be let through.
    """

    def __init__(self, problems: Problems, operators: frozenset[str] | None, selectors: frozenset[str] | None) -> None:
        self._problems = problems
        self._operators = operators
        self._selectors = selectors
        self._good_selectors: set[tuple[str, bool]] = set()

    def read(self, value: Any, path: Path, *, after_call: bool, depth: int = 1) -> Expression:
        """
        Read one expression.

        Args:
            value: What the document says.
            path: Where it stands.
            after_call: Whether the tool has run by then, so that its result can be asked for.
            depth: Level of nesting; the whole ``when`` is level 1.

        Returns:
            The expression; something harmless when problems were noted.
        """
        if type(value) is not dict:
            self._problems.wrong_type(path, "a mapping with one selector, or all, any, not", value)
            return _NOTHING
        if len(value) != 1:
            what = "is empty" if not value else f"has {len(value)} keys"
            self._problems.add(
                path,
                f"the condition {what}; it needs exactly one selector or one of all, any, not "
                "(join several conditions with all or any)",
            )
            return _NOTHING
        if depth > MAX_EXPRESSION_DEPTH:
            self._problems.add(path, f"the expression is nested deeper than {MAX_EXPRESSION_DEPTH} levels; flatten it")
            return _NOTHING
        ((key, inner),) = value.items()
        if key in CONNECTIVES:
            return self._connective(key, inner, (*path, key), after_call, depth)
        return self._leaf(key, inner, path, after_call)

    def _connective(self, key: str, inner: Any, path: Path, after_call: bool, depth: int) -> Expression:
        if key == "not":
            return Not(self.read(inner, path, after_call=after_call, depth=depth + 1))
        if not self._problems.items(inner, path):
            return _NOTHING
        items = tuple(
            self.read(item, (*path, index), after_call=after_call, depth=depth + 1) for index, item in enumerate(inner)
        )
        return All(items) if key == "all" else AnyOf(items)

    def _leaf(self, selector: str, test: Any, path: Path, after_call: bool) -> Expression:
        inside = (*path, selector)
        if (selector, after_call) not in self._good_selectors:
            problem = self._selector_problem(selector, after_call)
            if problem is None:
                self._good_selectors.add((selector, after_call))
            else:
                self._problems.add(inside, problem)
        if type(test) is not dict:
            self._problems.wrong_type(inside, "a mapping with one operator, such as {equals: ...}", test)
            return _NOTHING
        if len(test) != 1:
            what = "no operator" if not test else f"{len(test)} operators"
            self._problems.add(inside, f"{quote(selector)} has {what}; exactly one is needed")
            return _NOTHING
        ((operator, operand),) = test.items()
        self._operand(operator, operand, (*inside, operator))
        return Leaf(selector, operator, operand, render(path))

    def _selector_problem(self, selector: str, after_call: bool) -> str | None:
        root, dot, rest = selector.partition(".")
        if not all(selector.split(".")):
            return f"selector {quote(selector)} has an empty part; write names with single dots between them"
        if root not in SELECTOR_ROOTS:
            return self._custom_problem(selector, root, bool(dot))
        if root in AFTER_CALL_ROOTS and not after_call:
            return f"{quote(selector)} exists only after the tool ran; use it in a post rule"
        fields = SELECTOR_ROOTS[root]
        if fields is None:
            return f"{quote(root)} is a single value; nothing may follow it" if dot else None
        if not fields:
            return None if dot else f"selector {quote(root)} needs a name after it, as in {quote(root + '.name')}"
        known = tuple(f"{root}.{field}" for field in fields)
        name, _, path = rest.partition(".")
        name = f"{root}.{name}" if dot else root
        if name not in known:
            return f"unknown selector {quote(selector)}{did_you_mean(name, known) or f'; use {choices(known)}'}"
        if name in SELECTOR_MAPS:
            return None if path else f"selector {quote(name)} needs a name after it, as in {quote(name + '.name')}"
        return f"{quote(name)} is a single value; nothing may follow it" if path else None

    def _custom_problem(self, selector: str, root: str, has_path: bool) -> str | None:
        if self._selectors is None or (root in self._selectors and has_path):
            return None
        if root in self._selectors:
            return f"selector {quote(root)} needs a name after it, as in {quote(root + '.name')}"
        roots = sorted({*SELECTOR_ROOTS, *self._selectors})
        hint = did_you_mean(root, roots) or f"; a selector starts with one of {', '.join(roots)}"
        return f"unknown selector {quote(selector)}{hint}"

    def _operand(self, operator: str, operand: Any, path: Path) -> None:
        kind = BUILTIN_OPERATORS.get(operator)
        if kind is None:
            if self._operators is not None and operator not in self._operators:
                known = sorted({*BUILTIN_OPERATORS, *self._operators})
                hint = did_you_mean(operator, known) or f"; known operators are {', '.join(known)}"
                self._problems.add(path, f"unknown operator {quote(operator)}{hint}")
                return
            kind = "any"
        if kind == "text":
            if type(operand) is not str:
                self._problems.wrong_type(path, "text", operand)
        elif kind == "pattern":
            self._pattern(operand, path)
        elif kind == "bool":
            if operand is not True and operand is not False:
                self._problems.not_boolean(path, operand)
        elif kind == "number":
            self._number(operand, path)
        elif kind == "any":
            self.finite(operand, path)
        elif self._problems.items(operand, path):
            self._list(kind, operand, path)

    def _list(self, kind: str, operand: list[Any], path: Path) -> None:
        for index, item in enumerate(operand):
            if kind == "patterns":
                self._pattern(item, (*path, index))
            elif kind == "list":
                self.finite(item, (*path, index))
            elif type(item) is not str:
                self._problems.wrong_type((*path, index), "text", item)

    def _pattern(self, source: Any, path: Path) -> None:
        if type(source) is not str:
            self._problems.wrong_type(path, "a regular expression as text", source)
        elif not source:
            self._problems.add(path, "a pattern must not be empty")
        else:
            try:
                admit(source)
            except PatternRefused as refusal:
                self._problems.add(path, str(refusal))

    def _number(self, operand: Any, path: Path) -> None:
        if type(operand) is int:
            return
        if type(operand) is float:
            self.finite(operand, path)
        else:
            self._problems.wrong_type(path, "a number", operand)

    def finite(self, value: Any, path: Path) -> None:
        """
        Refuse NaN and infinity anywhere in a free value: they equal nothing and cannot be logged as JSON.
        """
        if type(value) is float:
            if not math.isfinite(value):
                self._problems.add(path, "a number must be finite, not NaN or infinity")
        elif type(value) is dict:
            for key, item in value.items():
                self.finite(item, (*path, key))
        elif type(value) is list:
            for index, item in enumerate(value):
                self.finite(item, (*path, index))

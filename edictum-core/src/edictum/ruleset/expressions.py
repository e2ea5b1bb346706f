"""
Expressions compiled to closures.

A compiled expression is a function of the call, the tool's result and a time budget that returns whether it
holds.  It raises when it cannot be judged; the engine takes that as a match.  ``all`` and ``any`` stop at the first
item that decides, so an item behind it can neither match nor raise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import environ as process_environ
from typing import Protocol

from edictum.errors import ConfigProblem, EdictumConfigError
from edictum.ruleset.operators import CustomOperator, Test, compile_operator
from edictum.ruleset.selectors import CustomSelector, Reader, ToolResult, compile_selector, split, walk
from edictum.ruleset.syntax import All, Expression, Leaf, Not
from edictum.ruleset.time_budget import TimeBudget
from edictum.snapshot import FrozenDict
from edictum.tool_call import ToolCall


class Condition(Protocol):
    """
    A compiled expression.
    """

    def __call__(self, call: ToolCall, result: ToolResult | None, budget: TimeBudget | None = None, /) -> bool:
        """
        Whether it holds.
        """


@dataclass(frozen=True, slots=True)
class Names:
    """
    What expressions may refer to beyond the built-in operators and selectors.

    Attributes:
        operators: Custom operators by name.
        selectors: Custom selectors by root.
        environ: Where ``env.*`` is read; the process environment unless a test says otherwise.
    """

    operators: Mapping[str, CustomOperator] = field(default_factory=dict)
    selectors: Mapping[str, CustomSelector] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=lambda: process_environ)

    def reader(self, selector: str) -> Reader | None:
        """
        The reader of a selector, or None.
        """
        return compile_selector(selector, custom=self.selectors, environ=self.environ)


def compile_expression(expression: Expression, names: Names) -> Condition:
    """
    Compile one expression.

    Raises:
        EdictumConfigError: It names an operator or a selector that is neither built in nor registered.
    """
    if isinstance(expression, Leaf):
        return _compile_leaf(expression, names)
    if isinstance(expression, Not):
        inner = compile_expression(expression.item, names)
        return lambda call, result, budget=None: not inner(call, result, budget)
    items = tuple(compile_expression(item, names) for item in expression.items)
    if len(items) == 1:
        return items[0]
    return _all(items) if isinstance(expression, All) else _any(items)


def _all(items: tuple[Condition, ...]) -> Condition:
    def condition(call: ToolCall, result: ToolResult | None, budget: TimeBudget | None = None) -> bool:
        for item in items:  # noqa: SIM110  a plain loop is twice as fast as all()
            if not item(call, result, budget):
                return False
        return True

    return condition


def _any(items: tuple[Condition, ...]) -> Condition:
    def condition(call: ToolCall, result: ToolResult | None, budget: TimeBudget | None = None) -> bool:
        for item in items:  # noqa: SIM110  a plain loop is twice as fast as any()
            if item(call, result, budget):
                return True
        return False

    return condition


def _compile_leaf(leaf: Leaf, names: Names) -> Condition:
    read = names.reader(leaf.selector)
    if read is None:
        raise _unknown(leaf, f"unknown selector {leaf.selector!r}; register its root as a custom selector")
    test = compile_operator(leaf.operator, leaf.operand, names.operators)
    if test is None:
        raise _unknown(leaf, f"unknown operator {leaf.operator!r}; register it as a custom operator")
    if leaf.operator == "exists":
        wanted = leaf.operand
        return lambda call, result, budget=None: (read(call, result) is not None) is wanted
    root, path = split(leaf.selector)
    if root == "args":
        return _argument_leaf(path, test)
    if leaf.selector == "output.text":
        return _output_leaf(test)
    if root == "env" and leaf.operator in _EQUALITY:
        return _env_leaf(".".join(path), leaf, names.environ, read)

    def condition(call: ToolCall, result: ToolResult | None, budget: TimeBudget | None = None) -> bool:
        value = read(call, result)
        return value is not None and test(value, budget)

    return condition


def _argument_leaf(path: tuple[str, ...], test: Test) -> Condition:
    # The most frequent leaf by far; fewer function calls than the general form.
    key, *below = path
    steps = tuple(below)
    if not below:

        def condition(call: ToolCall, result: ToolResult | None, budget: TimeBudget | None = None) -> bool:
            value = call.args.get(key)
            return value is not None and test(value, budget)

    elif len(below) == 1:
        second = below[0]

        def condition(call: ToolCall, result: ToolResult | None, budget: TimeBudget | None = None) -> bool:
            value = call.args.get(key)
            value = value.get(second) if type(value) is FrozenDict else walk(value, steps)
            return value is not None and test(value, budget)

    else:

        def condition(call: ToolCall, result: ToolResult | None, budget: TimeBudget | None = None) -> bool:
            value = walk(call.args.get(key), steps)
            return value is not None and test(value, budget)

    return condition


def _output_leaf(test: Test) -> Condition:
    def condition(call: ToolCall, result: ToolResult | None, budget: TimeBudget | None = None) -> bool:
        if result is not None:
            for text in result.texts:
                if test(text, budget):
                    return True
        return False

    return condition


_EQUALITY = {"equals": True, "in": True, "not_equals": False, "not_in": False}


def _env_leaf(name: str, leaf: Leaf, environ: Mapping[str, str], read: Reader) -> Condition:
    # A variable's value may look like a number, so a text operand is compared with the text as well.
    wanted = _EQUALITY[leaf.operator]
    equals = compile_operator("in" if leaf.operator.endswith("in") else "equals", leaf.operand, {})
    assert equals is not None

    def condition(call: ToolCall, result: ToolResult | None, budget: TimeBudget | None = None) -> bool:
        text = environ.get(name)
        if text is None:
            return False
        return (equals(text) or equals(read(call, result))) is wanted

    return condition


def _unknown(leaf: Leaf, message: str) -> EdictumConfigError:
    return EdictumConfigError.from_problems([ConfigProblem(leaf.path, message)])

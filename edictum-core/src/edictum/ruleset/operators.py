"""
The operators of rule expressions.

``compile_operator`` turns an operator and its operand into a test of one value that is present, within a time
budget that only searches use.  A value of the wrong type raises :class:`TypeMismatchError`; the rule then fires,
because a rule that cannot be judged must not let the call pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import ge, gt, le, lt
from typing import Any, Protocol, TypeAlias

from edictum.ruleset.patterns import admit
from edictum.ruleset.time_budget import TimeBudget

CustomOperator: TypeAlias = Callable[[Any, Any], Any]


class Test(Protocol):
    """
    An operator with its operand.
    """

    def __call__(self, value: Any, budget: TimeBudget | None = None, /) -> bool:
        """
        Whether a value, neither missing nor None, is what the operator asks for.
        """


class TypeMismatchError(TypeError):
    """
    The field's value has a type that the operator cannot judge.
    """

    def __init__(self, operator: str, wanted: str, value: Any) -> None:
        super().__init__(f"operator {operator!r} needs {wanted}, the field holds {type(value).__name__}")


def compile_operator(operator: str, operand: Any, custom: Mapping[str, CustomOperator]) -> Test | None:
    """
    Make the test of an operator.

    Args:
        operator: Its name.
        operand: The value given in the ruleset, already validated.
        custom: Registered operators by name.

    Returns:
        The test, or None for an unknown operator.  ``exists``
        is among them and is true for every value it gets; the caller handles missing values.
    """
    make = _MAKERS.get(operator)
    if make is not None:
        return make(operand)
    function = custom.get(operator)
    return None if function is None else _custom(operator, function, operand)


def same(value: Any, operand: Any) -> bool:
    """
    Equality as rules mean it: numbers by value, but a boolean is never a number; lists equal tuples.
    """
    if isinstance(value, bool) or isinstance(operand, bool):
        return isinstance(value, bool) and isinstance(operand, bool) and value is operand
    if isinstance(operand, (list, tuple)):
        return (
            isinstance(value, (list, tuple))
            and len(value) == len(operand)
            and all(same(left, right) for left, right in zip(value, operand, strict=True))
        )
    if isinstance(operand, dict):
        return (
            isinstance(value, Mapping)
            and len(value) == len(operand)
            and all(key in value and same(value[key], item) for key, item in operand.items())
        )
    return bool(value == operand)


def _equals(operand: Any) -> Test:
    if type(operand) is str:
        return lambda value, budget=None: bool(value == operand)
    return lambda value, budget=None: same(value, operand)


def _not_equals(operand: Any) -> Test:
    equals = _equals(operand)
    return lambda value, budget=None: not equals(value)


def _in(operand: list[Any]) -> Test:
    texts = frozenset(item for item in operand if type(item) is str)

    def test(value: Any, budget: TimeBudget | None = None) -> bool:
        if type(value) is str:
            return value in texts
        return any(same(value, item) for item in operand)

    return test


def _not_in(operand: list[Any]) -> Test:
    member = _in(operand)
    return lambda value, budget=None: not member(value)


def _contains(operand: str) -> Test:
    def test(value: Any, budget: TimeBudget | None = None) -> bool:
        if isinstance(value, str):
            return operand in value
        raise TypeMismatchError("contains", "text", value)

    return test


def _contains_any(operand: list[str]) -> Test:
    needles = tuple(dict.fromkeys(operand))

    def test(value: Any, budget: TimeBudget | None = None) -> bool:
        if not isinstance(value, str):
            raise TypeMismatchError("contains_any", "text", value)
        for needle in needles:  # noqa: SIM110  a plain loop is twice as fast as any()
            if needle in value:
                return True
        return False

    return test


def _starts_with(operand: str) -> Test:
    def test(value: Any, budget: TimeBudget | None = None) -> bool:
        if isinstance(value, str):
            return value.startswith(operand)
        raise TypeMismatchError("starts_with", "text", value)

    return test


def _ends_with(operand: str) -> Test:
    def test(value: Any, budget: TimeBudget | None = None) -> bool:
        if isinstance(value, str):
            return value.endswith(operand)
        raise TypeMismatchError("ends_with", "text", value)

    return test


def _matches(operand: str) -> Test:
    found = admit(operand).found

    def test(value: Any, budget: TimeBudget | None = None) -> bool:
        if isinstance(value, str):
            return found(value, budget)
        raise TypeMismatchError("matches", "text", value)

    return test


def _matches_any(operand: list[str]) -> Test:
    searches = tuple(admit(source).found for source in dict.fromkeys(operand))

    def test(value: Any, budget: TimeBudget | None = None) -> bool:
        if not isinstance(value, str):
            raise TypeMismatchError("matches_any", "text", value)
        for found in searches:  # noqa: SIM110  a plain loop is twice as fast as any()
            if found(value, budget):
                return True
        return False

    return test


def _number_test(operator: str, compare: Callable[[Any, Any], bool], operand: Any) -> Test:
    def test(value: Any, budget: TimeBudget | None = None) -> bool:
        kind = type(value)
        if kind is int or kind is float or (isinstance(value, (int, float)) and kind is not bool):
            if value != value:
                raise ValueError(f"operator {operator!r} cannot compare NaN")
            return compare(value, operand)
        raise TypeMismatchError(operator, "a number", value)

    return test


def _custom(name: str, function: CustomOperator, operand: Any) -> Test:
    def test(value: Any, budget: TimeBudget | None = None) -> bool:
        answer = function(value, operand)
        if hasattr(answer, "__await__"):
            if hasattr(answer, "close"):
                answer.close()
            raise TypeError(f"custom operator {name!r} is asynchronous; operators are plain functions")
        return bool(answer)

    return test


_MAKERS: dict[str, Callable[[Any], Test]] = {
    "exists": lambda operand: lambda value, budget=None: bool(operand),
    "equals": _equals,
    "not_equals": _not_equals,
    "in": _in,
    "not_in": _not_in,
    "contains": _contains,
    "contains_any": _contains_any,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "matches": _matches,
    "matches_any": _matches_any,
    "gt": partial(_number_test, "gt", gt),
    "gte": partial(_number_test, "gte", ge),
    "lt": partial(_number_test, "lt", lt),
    "lte": partial(_number_test, "lte", le),
}

"""
Every operator on a missing value, None, a value of the right type and one of the wrong type.
"""

from __future__ import annotations

import datetime
import decimal
import enum
from collections.abc import Callable
from typing import Any

import pytest
from call_strategies import pre, ruleset, verdict_of
from edictum import Edictum, EdictumConfigError
from edictum.testing.strategies import operations, values_around
from hypothesis import given
from hypothesis import strategies as st
from reference import operator_verdict

NAN = float("nan")
INFINITY = float("inf")


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.StrEnum):
    RED = "red"


class Text(str):
    pass


OPERANDS_AT_HAND: dict[str, Any] = {
    "exists": False,
    "equals": "x",
    "not_equals": "x",
    "in": ["x"],
    "not_in": ["x"],
    "contains": "x",
    "contains_any": ["x"],
    "starts_with": "x",
    "ends_with": "x",
    "matches": "x",
    "matches_any": ["x"],
    "gt": 1,
    "gte": 1,
    "lt": 1,
    "lte": 1,
}
TEXT_OPERATORS = ["contains", "contains_any", "starts_with", "ends_with", "matches", "matches_any"]
NUMBER_OPERATORS = ["gt", "gte", "lt", "lte"]
ANY_TYPE_OPERATORS = ["equals", "not_equals", "in", "not_in"]


def verdict(operator: str, operand: Any, value: Any, **options: Any) -> str:
    return verdict_of({"args.a": {operator: operand}}, args={"a": value}, **options)


# --- missing and None ----------------------------------------------------------------------------


@pytest.mark.parametrize("args", [{}, {"a": None}], ids=["missing", "none"])
@pytest.mark.parametrize("operator", sorted(OPERANDS_AT_HAND.keys() - {"exists"}))
def test_operator_without_a_value_is_false(operator: str, args: dict[str, Any]) -> None:
    assert verdict_of({"args.a": {operator: OPERANDS_AT_HAND[operator]}}, args=args) == "false"


@pytest.mark.parametrize("operator", sorted(OPERANDS_AT_HAND.keys() - {"exists"}))
def test_not_of_an_operator_without_a_value_is_true(operator: str) -> None:
    assert verdict_of({"not": {"args.a": {operator: OPERANDS_AT_HAND[operator]}}}, args={}) == "true"


@pytest.mark.parametrize(
    ("operand", "args", "expected"),
    [
        (True, {}, "false"),
        (True, {"a": None}, "false"),
        (True, {"a": ""}, "true"),
        (True, {"a": 0}, "true"),
        (True, {"a": False}, "true"),
        (True, {"a": []}, "true"),
        (False, {}, "true"),
        (False, {"a": None}, "true"),
        (False, {"a": ""}, "false"),
    ],
)
def test_exists_asks_for_a_value_that_is_not_none(operand: bool, args: dict[str, Any], expected: str) -> None:
    assert expected == verdict_of({"args.a": {"exists": operand}}, args=args)


# --- wrong types ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 1.5, True, [], ["x"], {}, {"x": 1}, ("x",), b"x", {"x"}], ids=repr)
@pytest.mark.parametrize("operator", TEXT_OPERATORS)
def test_text_operator_on_something_else_is_a_policy_error(operator: str, value: Any) -> None:
    assert verdict(operator, OPERANDS_AT_HAND[operator], value) == "error"


@pytest.mark.parametrize("value", ["5", "", True, False, [], [5], {}, b"5", decimal.Decimal(5), 5j, NAN], ids=repr)
@pytest.mark.parametrize("operator", NUMBER_OPERATORS)
def test_number_operator_on_something_else_is_a_policy_error(operator: str, value: Any) -> None:
    """
    A number as text, a boolean and NaN cannot be compared, so the rule has to fire.
    """
    assert verdict(operator, 1, value) == "error"


@pytest.mark.parametrize(
    "value", [1, 1.5, NAN, True, [], {"a": [1]}, ("x", 1), b"x", {1}, datetime.date(2024, 1, 1)], ids=repr
)
@pytest.mark.parametrize("operator", ANY_TYPE_OPERATORS)
def test_equality_operator_on_any_type_never_fails(operator: str, value: Any) -> None:
    expected = "true" if operator.startswith("not_") else "false"

    assert expected == verdict(operator, OPERANDS_AT_HAND[operator], value)


# --- right types ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operand", "value", "expected"),
    [
        ("x", "x", True),
        ("x", "X", False),
        ("x", " x", False),
        ("", "", True),
        ("red", Colour.RED, True),
        ("x", Text("x"), True),
        (1, 1, True),
        (1, 1.0, True),
        (1.0, 1, True),
        (3, Level.HIGH, True),
        (1, True, False),
        (0, False, False),
        (True, 1, False),
        (False, 0, False),
        (True, True, True),
        (True, False, False),
        ("1", 1, False),
        (1, "1", False),
        ("true", True, False),
        (None, "x", False),
        (1, NAN, False),
        (1, INFINITY, False),
        (2**63, 2**63, True),
        ([], [], True),
        ([], "", False),
        ([1, "x"], [1, "x"], True),
        ([1, "x"], (1, "x"), True),
        ([1, "x"], ["x", 1], False),
        ([1], [1, 1], False),
        ([1], [True], False),
        ([[1]], [(1.0,)], True),
        ({}, {}, True),
        ({}, [], False),
        ({"k": 1}, {"k": 1}, True),
        ({"k": 1}, {"k": True}, False),
        ({"k": 1}, {"k": 1, "l": 2}, False),
        ({"k": 1, "l": 2}, {"l": 2, "k": 1}, True),
        ({"k": [True]}, {"k": [1]}, False),
        ("x", b"x", False),
        (["x"], {"x"}, False),
    ],
    ids=repr,
)
def test_equals_compares_by_value_and_tells_booleans_from_numbers(operand: Any, value: Any, expected: bool) -> None:
    assert ("true" if expected else "false") == verdict("equals", operand, value)
    assert ("false" if expected else "true") == verdict("not_equals", operand, value)
    assert ("true" if expected else "false") == verdict("in", ["other", operand], value)
    assert ("false" if expected else "true") == verdict("not_in", [operand, "other"], value)


@pytest.mark.parametrize(
    ("operator", "operand", "value", "expected"),
    [
        ("contains", "b.c", "ab.cd", "true"),
        ("contains", "b.c", "abxcd", "false"),
        ("contains", "$()", "echo $(whoami)", "false"),
        ("contains", "", "abc", "true"),
        ("contains", "B", "abc", "false"),
        ("contains_any", ["z", "b"], "abc", "true"),
        ("contains_any", ["z", ".*"], "abc", "false"),
        ("starts_with", "ab", "abc", "true"),
        ("starts_with", "bc", "abc", "false"),
        ("starts_with", "abcd", "abc", "false"),
        ("ends_with", "bc", "abc", "true"),
        ("ends_with", "ab", "abc", "false"),
        ("ends_with", "c", "abc\n", "false"),
        ("matches", "b.?c", "ab_cd", "true"),
        ("matches", "^b", "abc", "false"),
        ("matches", "c$", "abc\n", "true"),
        ("matches", r"\bkey\b", "my key.", "true"),
        ("matches", r"\bkey\b", "monkey", "false"),
        ("matches", "(?i)ABC", "xabcx", "true"),
        ("matches_any", ["^z", "c$"], "abc", "true"),
        ("matches_any", ["^z", "^y"], "abc", "false"),
        ("contains", "x", Text("yxy"), "true"),
        ("contains", "e", Colour.RED, "true"),
    ],
)
def test_text_operator_on_text(operator: str, operand: Any, value: str, expected: str) -> None:
    """
    ``contains`` knows no special characters, ``matches`` searches anywhere.
    """
    assert expected == verdict(operator, operand, value)


@pytest.mark.parametrize(
    ("value", "true_operators"),
    [
        (0, {"lt", "lte"}),
        (1, {"gte", "lte"}),
        (1.0, {"gte", "lte"}),
        (2, {"gt", "gte"}),
        (1.0000001, {"gt", "gte"}),
        (-INFINITY, {"lt", "lte"}),
        (INFINITY, {"gt", "gte"}),
        (10**400, {"gt", "gte"}),
        (Level.HIGH, {"gt", "gte"}),
    ],
)
def test_number_operator_on_a_number_compares(value: float, true_operators: set[str]) -> None:
    found = {operator for operator in NUMBER_OPERATORS if verdict(operator, 1, value) == "true"}

    assert true_operators == found
    assert "error" not in {verdict(operator, 1.5, value) for operator in NUMBER_OPERATORS}


@pytest.mark.parametrize("operator", ["equals", "not_equals", "in", "gt"])
def test_operand_that_is_not_finite_is_refused(operator: str) -> None:
    operand: Any = [NAN] if operator == "in" else NAN

    with pytest.raises(EdictumConfigError, match="finite"):
        Edictum.from_bundle_dict(ruleset(pre({"args.a": {operator: operand}})))


@st.composite
def comparisons(draw: st.DrawFn, *operators: str) -> tuple[str, Any, Any]:
    """
    Operator, operand and a value to compare.
    """
    ((operator, operand),) = draw(operations(*operators)).items()
    return operator, operand, draw(values_around(operator, operand))


@pytest.mark.property
@given(comparisons().filter(lambda found: found[0] != "exists"))
def test_operator_on_any_value_agrees_with_the_reference(comparison: tuple[str, Any, Any]) -> None:
    operator, operand, value = comparison
    expected = "false" if value is None else operator_verdict(operator, value, operand)

    assert expected == verdict(operator, operand, value)


@pytest.mark.property
@given(comparisons("equals"))
def test_not_equals_and_not_in_of_a_present_value_are_the_opposites(comparison: tuple[str, Any, Any]) -> None:
    _, operand, value = comparison
    if value is not None:
        assert verdict("equals", operand, value) != verdict("not_equals", operand, value)
        assert verdict("in", [operand], value) != verdict("not_in", [operand], value)
        assert verdict("in", [operand], value) == verdict("equals", operand, value)


# --- custom operators ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda value, operand: value % operand == 0, "true"),
        (lambda value, operand: [], "false"),
        (lambda value, operand: "anything truthy", "true"),
        (lambda value, operand: None, "false"),
        (lambda value, operand: value + "text", "error"),
        (lambda value, operand: 1 / 0, "error"),
        (lambda value: True, "error"),
    ],
)
def test_custom_operator_answer_counts_by_its_truth(function: Callable[..., Any], expected: str) -> None:
    assert expected == verdict("divides", 2, 4, custom_operators={"divides": function})


def test_custom_operator_that_is_asynchronous_is_a_policy_error() -> None:
    """
    A coroutine is truthy, so it must not be taken as an answer; nor may it be left without being closed.
    """

    async def divides(value: Any, operand: Any) -> bool:
        return False

    assert verdict("divides", 2, 4, custom_operators={"divides": divides}) == "error"


class Undecided:
    def __bool__(self) -> bool:
        raise RuntimeError("neither")


def test_custom_operator_whose_answer_has_no_truth_is_a_policy_error() -> None:
    assert verdict("divides", 2, 4, custom_operators={"divides": lambda value, operand: Undecided()}) == "error"


@pytest.mark.parametrize("args", [{}, {"a": None}], ids=["missing", "none"])
def test_custom_operator_is_not_called_without_a_value(args: dict[str, Any]) -> None:
    def seen(value: Any, operand: Any) -> bool:
        raise AssertionError("there is no value to judge")

    assert verdict_of({"args.a": {"seen": 1}}, args=args, custom_operators={"seen": seen}) == "false"


def test_custom_operator_gets_the_value_and_the_operand_as_written() -> None:
    operators = {"both": lambda value, operand: (value, operand) == ([1, {"b": 2}], {"k": [1, None]})}

    assert verdict("both", {"k": [1, None]}, [1, {"b": 2}], custom_operators=operators) == "true"
    assert verdict("both", {"k": [1]}, [1, {"b": 2}], custom_operators=operators) == "false"


@pytest.mark.parametrize("operators", [{"equals": lambda value, operand: True}, {"mine": "not a function"}])
def test_custom_operator_that_is_built_in_or_no_function_is_refused(operators: dict[str, Any]) -> None:
    with pytest.raises(EdictumConfigError, match="custom_operators"):
        Edictum(custom_operators=operators)

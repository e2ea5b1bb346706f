"""
That what lint says about conditions and tool patterns is true: compared with a literal reading of the rules.
"""

from __future__ import annotations

import dataclasses
from fnmatch import fnmatchcase
from typing import Any

import pytest
import reference
from call_strategies import calls, pre, ruleset
from edictum.ruleset.coverage import Coverage, Node, covers_glob, simplify
from edictum.ruleset.document import from_mapping
from edictum.ruleset.reader import read_ruleset
from edictum.ruleset.syntax import PreRule
from edictum.testing.strategies import expressions, operations, selectors
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

Data = dict[str, Any]


def node_of(when: Data, tools: tuple[str, ...] = ("*",)) -> Node:
    (rule,) = read_ruleset(from_mapping(ruleset(pre(when)))).rules
    assert isinstance(rule, PreRule)
    return simplify(rule.when, tools)


def covers(wide: Data, narrow: Data) -> bool:
    return Coverage().covers(node_of(wide), node_of(narrow))


# --- conditions ----------------------------------------------------------------------------------

A: Data = {"args.a": {"equals": "x"}}
B: Data = {"args.b": {"exists": True}}
MAY_FAIL: Data = {"args.a": {"contains": "x"}}


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        (A, A, True),
        (A, B, False),
        (A, {"all": [A, B]}, True),
        (A, {"all": [B, A]}, True),
        ({"all": [A, B]}, A, False),
        ({"any": [A, B]}, A, True),
        (A, {"any": [A, B]}, False),
        ({"any": [A, B]}, {"any": [B, A]}, True),
        ({"not": A}, {"not": A}, True),
        ({"not": A}, {"not": {"any": [A, B]}}, True),
        ({"not": {"any": [A, B]}}, {"not": A}, False),
        ({"not": {"not": A}}, A, True),
        ({"not": {"args.b": {"exists": True}}}, {"args.b": {"exists": False}}, True),
        # What stands before can fail, and then the rule fires without the rest being judged.
        (B, {"all": [MAY_FAIL, B]}, False),
        (B, {"all": [B, MAY_FAIL]}, True),
        ({"not": MAY_FAIL}, {"not": {"any": [MAY_FAIL, B]}}, False),
        ({"args.a": {"in": ["x", "y"]}}, A, True),
        ({"args.a": {"in": ["x", "y"]}}, {"args.a": {"in": ["y", "z"]}}, False),
        ({"args.a": {"starts_with": "ab"}}, {"args.a": {"equals": "abc"}}, True),
        ({"args.a": {"matches": "^a.c$"}}, {"args.a": {"in": ["abc", "axc"]}}, True),
        ({"args.a": {"gt": 1}}, {"args.a": {"equals": "x"}}, True),  # cannot be compared, so it fires
        ({"args.a": {"exists": True}}, {"args.a": {"not_equals": 1}}, True),
        ({"args.a": {"exists": True}}, {"args.a": {"exists": False}}, False),
        ({"args.a": {"contains": "rm"}}, {"args.a": {"contains_any": ["rm -r", "xrm"]}}, True),
        ({"args.a": {"contains": "rm -r"}}, {"args.a": {"contains": "rm"}}, False),
        ({"args.a": {"contains": "b"}}, {"args.a": {"starts_with": "abc"}}, True),
        ({"args.a": {"starts_with": "a"}}, {"args.a": {"starts_with": "abc"}}, True),
        ({"args.a": {"ends_with": "bc"}}, {"args.a": {"ends_with": "c"}}, False),
        ({"args.a": {"matches_any": ["x", "y"]}}, {"args.a": {"matches": "y"}}, True),
        ({"args.a": {"matches": ".*"}}, {"args.a": {"not_in": ["y"]}}, True),
        ({"args.a": {"not_in": ["x"]}}, {"args.a": {"not_in": ["x", "y"]}}, True),
        ({"args.a": {"not_in": ["x", "y"]}}, {"args.a": {"not_equals": "x"}}, False),
        ({"args.a": {"gt": 1}}, {"args.a": {"gte": 2}}, True),
        ({"args.a": {"gt": 2}}, {"args.a": {"gte": 2}}, False),
        ({"args.a": {"gte": 2}}, {"args.a": {"gt": 2}}, True),
        ({"args.a": {"lt": 5}}, {"args.a": {"lte": 4}}, True),
        ({"args.a": {"lt": 5}}, {"args.a": {"gt": 1}}, False),
        ({"tool.name": {"exists": True}}, A, True),
        # A variable is compared as text and as number.
        ({"env.A": {"equals": "1"}}, {"env.A": {"in": ["1"]}}, False),
    ],
)
def test_covers_says_yes_only_to_what_is_certain(wide: Data, narrow: Data, expected: bool) -> None:
    assert covers(wide, narrow) is expected


def test_covers_gives_up_after_much_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edictum.ruleset.coverage._MAX_STEPS", 3)
    coverage = Coverage()
    node = node_of(A)
    assert [coverage.covers(node, node) for _ in range(5)] == [True] * 3 + [False] * 2


@st.composite
def related(draw: st.DrawFn) -> tuple[Data, Data]:
    """
    Two conditions, of which the first often covers the second.
    """
    wide, other = draw(expressions()), draw(expressions())
    narrow = draw(
        st.sampled_from(
            [
                wide,
                other,
                {"all": [wide, other]},
                {"all": [other, wide]},
                {"any": [wide, other]},
                {"not": {"not": wide}},
            ]
        )
    )
    wide = draw(st.sampled_from([wide, {"any": [wide, other]}, {"any": [other, wide]}, {"all": [wide]}]))
    return draw(st.sampled_from([(wide, narrow), ({"not": narrow}, {"not": wide}), (wide, other)]))


@st.composite
def related_leaves(draw: st.DrawFn) -> tuple[Data, Data]:
    """
    Two tests of one value.
    """
    selector = draw(selectors())
    return {selector: draw(operations())}, {selector: draw(operations())}


@st.composite
def covered(draw: st.DrawFn) -> tuple[Data, Data, list[reference.Call]]:
    """
    Two such conditions and calls that are likely to meet one of them.
    """
    wide, narrow = draw(related() | related_leaves())
    assume(covers(wide, narrow))
    document = ruleset(pre(wide, rule_id="wide"), pre(narrow, rule_id="narrow"))
    return wide, narrow, draw(st.lists(calls(document), min_size=1, max_size=4))


@pytest.mark.property
@given(covered())
@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_covers_whatever_fires_the_narrow_one_fires_the_wide_one(
    case: tuple[Data, Data, list[reference.Call]],
) -> None:
    wide, narrow, several = case
    for call in several:
        if reference.verdict(narrow, call) != reference.FALSE:
            assert reference.verdict(wide, call) != reference.FALSE


@pytest.mark.property
@given(expressions(), st.data())
def test_simplified_constants_hold_for_every_call(when: Data, data: st.DataObject) -> None:
    several = data.draw(st.lists(calls(ruleset(pre(when))), min_size=1, max_size=4))
    kind = node_of(when, ("t", "u")).kind
    event(kind)
    for call in (dataclasses.replace(call, tool=data.draw(st.sampled_from(["t", "u"]))) for call in several):
        if kind == "true":
            assert reference.verdict(when, call) != reference.FALSE
        elif kind == "false":
            assert reference.verdict(when, call) != reference.TRUE


# --- tools ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("*", "x", True),
        ("*", "a*b?[cd]", True),
        ("read_*", "read_file", True),
        ("read_*", "read_*_now", True),
        ("read_*", "rea*", False),
        ("*_file", "read_*", False),
        ("a?c", "abc", True),
        ("a?c", "a?c", True),
        ("a?c", "a*c", False),
        ("a*c", "a?c", True),
        ("[ab]x", "ax", True),
        ("[ab]x", "cx", False),
        ("[!a]x", "[bc]x", False),  # true, but not shown
        ("**a", "*a", True),
        ("bash", "Bash", False),
        ("[a", "[a", True),
        ("*[a", "x[a", True),
    ],
)
def test_covers_glob_says_yes_only_to_what_is_certain(wide: str, narrow: str, expected: bool) -> None:
    assert covers_glob(wide, narrow) is expected


GLOBS = st.text(alphabet="ab*?[]!-", max_size=6)


@pytest.mark.property
@given(GLOBS, GLOBS, st.text(alphabet="ab[]!-", max_size=6))
def test_covers_glob_a_name_of_the_narrow_one_is_one_of_the_wide_one(wide: str, narrow: str, name: str) -> None:
    if covers_glob(wide, narrow) and fnmatchcase(name, narrow):
        assert fnmatchcase(name, wide)

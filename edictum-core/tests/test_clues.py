"""
The quick look at a call that spares judging rules: it must never pass over a rule that fires.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from call_strategies import post, pre, ruleset, session_rule
from edictum import Edictum, EdictumDenied, Principal, create_tool_call
from edictum.engine.decide import gives_clue, judge, nothing_fires
from edictum.engine.plan import Planner, ToolPlan
from edictum.ruleset.patterns.limits import ALWAYS_SEARCHED
from edictum.ruleset.policy import MAX_CLUE_CHARS
from edictum.ruleset.selectors import ToolResult
from edictum.ruleset.time_budget import TimeBudget
from edictum.testing.strategies import expressions, tool_calls
from edictum.tools import ToolRegistry
from hypothesis import given
from hypothesis import strategies as st
from plans import compiled

T = {"args.a": {"contains": "needle"}}
F = {"args.b": {"contains": "other"}}
MISTYPED = {"args.number": {"contains": "x"}}


def plan_of(*whens: dict[str, Any]) -> ToolPlan:
    rules = compiled(*(pre(when, rule_id=f"rule-{number}") for number, when in enumerate(whens)))
    return Planner(rules, (), ToolRegistry(), None).plan("tool")


def clear(plan: ToolPlan, args: dict[str, Any], **more: Any) -> bool:
    return nothing_fires(plan, create_tool_call("tool", args, **more), TimeBudget())


def fires(plan: ToolPlan, call: Any) -> bool:
    for rule in plan.rules:
        assert rule.condition is not None
        try:
            if rule.condition(call, None):
                return True
        except Exception:
            return True
    return False


# --- soundness -----------------------------------------------------------------------------------


@given(data=st.data())
def test_quick_look_a_call_that_breaks_a_rule_is_never_clear(data: st.DataObject) -> None:
    whens = data.draw(st.lists(expressions(), min_size=1, max_size=3))
    sample = data.draw(tool_calls(ruleset(*(pre(when, rule_id=f"r{number}") for number, when in enumerate(whens)))))
    plan = plan_of(*whens)
    call = create_tool_call("tool", sample.args, principal=sample.principal, environment=sample.environment)
    if fires(plan, call):
        assert not nothing_fires(plan, call, TimeBudget())


@pytest.mark.parametrize(
    ("when", "args"),
    [
        (T, {"a": "a needle"}),
        ({"args.a": {"contains_any": ["x", "needle"]}}, {"a": "needle"}),
        ({"args.a": {"starts_with": "ne"}}, {"a": "needle"}),
        ({"args.a": {"ends_with": "le"}}, {"a": "needle"}),
        ({"args.a": {"equals": "needle"}}, {"a": "needle"}),
        ({"args.a": {"in": ["x", "needle"]}}, {"a": "needle"}),
        ({"args.a": {"matches": r"\bnee+dle\b"}}, {"a": "a neeedle"}),
        ({"args.a": {"matches_any": ["x{3}", "n.*e"]}}, {"a": "needle"}),
        ({"args.a": {"matches": "(?i)needle"}}, {"a": "NEEDLE"}),
        ({"args.a.b.c": {"contains": "needle"}}, {"a": {"b": {"c": "needle"}}}),
        ({"args.a": {"contains": ""}}, {"a": "text"}),
        ({"args.a": {"equals": ""}}, {"a": ""}),
        ({"args.a": {"equals": 1}}, {"a": 1}),
        ({"args.a": {"equals": True}}, {"a": True}),
        ({"args.a": {"in": [1, "x"]}}, {"a": 1}),
        ({"args.a": {"gt": 1}}, {"a": 2}),
        ({"args.a": {"exists": False}}, {}),
        ({"args.a": {"not_equals": "x"}}, {"a": "y"}),
        ({"not": T}, {"a": "hay"}),
        ({"any": [F, {"not": T}]}, {}),
        ({"all": [T, {"not": F}]}, {"a": "needle"}),
        ({"any": [F, T]}, {"a": "needle", "b": "x"}),
        (MISTYPED, {"number": 1}),
        ({"all": [MISTYPED, F]}, {"number": 1, "b": "x"}),
        ({"any": [F, MISTYPED]}, {"number": 1, "b": "x"}),
        ({"args.a": {"contains": "needle"}}, {"a": ["needle"]}),
        ({"args.a": {"matches": "^needle"}}, {"a": "x" * 1_000_001}),
    ],
)
def test_quick_look_a_rule_that_fires_is_not_passed_over(when: dict[str, Any], args: dict[str, Any]) -> None:
    plan = plan_of(F, when)
    assert fires(plan, create_tool_call("tool", args))
    assert not clear(plan, args)


@given(data=st.data())
def test_quick_look_a_result_that_breaks_a_rule_is_never_passed_over(data: st.DataObject) -> None:
    whens = data.draw(st.lists(expressions(after_call=True), min_size=1, max_size=3))
    rules = [post(when, rule_id=f"r{number}") for number, when in enumerate(whens)]
    sample = data.draw(tool_calls(ruleset(*rules)))
    value = data.draw(st.sampled_from([sample.output, None, "", "x" * (MAX_CLUE_CHARS + 1)]) | st.text(max_size=20))
    plan = Planner(compiled(*rules), (), ToolRegistry(), None).plan("tool")
    call = create_tool_call("tool", sample.args, principal=sample.principal, environment=sample.environment)
    if any(judge(rule, call, ToolResult(value)) is not None for rule in plan.post):
        assert plan.post_looks is None or gives_clue(plan.post_looks, call, value)


@pytest.mark.parametrize(
    ("when", "value", "clue"),
    [
        ({"output.text": {"contains": "needle"}}, "hay", False),
        ({"output.text": {"contains": "needle"}}, "a needle", True),
        ({"output.text": {"matches_any": ["x{3}", "nee+dle"]}}, "needle", True),
        ({"output.text": {"equals": "needle"}}, "needle", True),
        ({"output.text": {"contains": "needle"}}, None, False),
        ({"output.text": {"contains": "needle"}}, {"a": "needle"}, True),
        ({"output.text": {"contains": "needle"}}, b"needle", True),
        ({"output.text": {"contains": "needle"}}, "x" * (MAX_CLUE_CHARS + 1), True),
        ({"all": [{"args.a": {"equals": "needle"}}, {"output.text": {"exists": True}}]}, "hay", False),
    ],
)
def test_quick_look_at_a_result(when: dict[str, Any], value: object, clue: bool) -> None:
    plan = Planner(compiled(post(when)), (), ToolRegistry(), None).plan("tool")
    assert plan.post_looks is not None
    assert gives_clue(plan.post_looks, create_tool_call("tool", {"a": "hay"}), value) is clue


@pytest.mark.parametrize("when", [{"not": {"output.text": {"contains": "x"}}}, {"output.text": {"exists": True}}])
def test_quick_look_results_are_judged_where_a_rule_has_no_clues(when: dict[str, Any]) -> None:
    rules = compiled(post({"output.text": {"contains": "x"}}, rule_id="r1"), post(when, rule_id="r2"))
    assert Planner(rules, (), ToolRegistry(), None).plan("tool").post_looks is None


@pytest.mark.parametrize(
    ("args", "clue"),
    [
        ({}, False),
        ({"a": None}, False),
        ({"a": {"b": "hay", "c": "hay"}}, False),
        ({"a": {"b": "hay", "c": "needle"}}, True),
        ({"a": {"c": "needle"}}, True),
        ({"a": {"b": 1}}, True),
        ({"a": "needle"}, True),
        ({"a": ["needle"]}, True),
    ],
)
def test_quick_look_arguments_in_one_mapping_are_each_read(args: dict[str, Any], clue: bool) -> None:
    plan = plan_of({"args.a.b": {"contains": "needle"}}, {"args.a.c": {"equals": "needle"}})
    assert len(plan.looks) == 1
    assert clear(plan, args) is not clue


# --- what it spares ------------------------------------------------------------------------------


def test_quick_look_texts_without_clues_are_clear_and_no_rule_is_judged() -> None:
    plan = plan_of(T, F, {"any": [T, {"args.a": {"matches": "foo.*bar"}}]}, {"all": [F, {"not": T}]})
    assert not plan.unclear
    assert clear(plan, {"a": "hay", "b": "straw"})
    assert clear(plan, {})


def test_quick_look_rules_without_clues_are_judged() -> None:
    plan = plan_of(T, {"not": {"args.b": {"equals": "fine"}}}, {"args.size": {"gt": 10}})
    assert [rule.id for rule in plan.unclear] == ["rule-1", "rule-2"]
    assert clear(plan, {"a": "hay", "b": "fine", "size": 10})
    assert not clear(plan, {"a": "hay", "b": "fine", "size": 11})
    assert not clear(plan, {"a": "hay", "b": "bad", "size": 10})


def test_quick_look_text_longer_than_any_pattern_searches_is_left_to_the_rules() -> None:
    plan = plan_of(T)
    assert MAX_CLUE_CHARS <= ALWAYS_SEARCHED
    assert clear(plan, {"a": "x" * MAX_CLUE_CHARS})
    assert not clear(plan, {"a": "x" * (MAX_CLUE_CHARS + 1)})


def test_quick_look_principal_and_environment_are_read() -> None:
    plan = plan_of({"principal.claims.team": {"equals": "red"}}, {"environment": {"equals": "staging"}})
    red, blue = (Principal(claims={"team": team}) for team in ("red", "blue"))
    assert not clear(plan, {}, principal=red)
    assert clear(plan, {}, principal=blue)
    assert not clear(plan, {}, principal=blue, environment="staging")


# --- the way of a call that it clears ------------------------------------------------------------


async def call_three_times(guard: Edictum, **args: Any) -> list[str]:
    outcomes = []
    for _ in range(3):
        try:
            outcomes.append(await guard.run("tool", args, lambda **given: "ran", session_id="s"))
        except EdictumDenied as denied:
            outcomes.append(denied.decision_name)
    counters = await guard.session("s").counters("tool")
    return [*outcomes, f"{counters['attempts']} {counters['execs']} {counters['tool:tool']}"]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_tool_calls": 2}, ["ran", "ran", "cap", "3 2 2"]),
        ({"max_attempts": 2}, ["ran", "ran", "max_attempts", "3 2 2"]),
        ({"max_calls_per_tool": {"tool": 1}}, ["ran", "max_calls_per_tool:tool", "max_calls_per_tool:tool", "3 1 1"]),
    ],
)
def test_clear_call_beyond_a_limit_is_counted_as_attempt_only(limits: dict[str, Any], expected: list[str]) -> None:
    guard = Edictum.from_bundle_dict(ruleset(pre(T), session_rule(**limits)))
    assert asyncio.run(call_three_times(guard, a="hay")) == expected


def test_call_that_gives_a_clue_is_counted_once() -> None:
    rules = ruleset(pre({"all": [T, {"args.b": {"equals": "bad"}}]}))
    assert asyncio.run(call_three_times(Edictum.from_bundle_dict(rules), a="needle")) == ["ran"] * 3 + ["3 3 3"]
    guard = Edictum.from_bundle_dict(rules)
    assert asyncio.run(call_three_times(guard, a="needle", b="bad")) == ["rule"] * 3 + ["3 0 0"]


def test_custom_operator_of_a_rule_that_fires_is_asked_once() -> None:
    asked: list[str] = []

    def odd(value: Any, operand: Any) -> bool:
        asked.append(value)
        return True

    rules = ruleset(pre({"args.a": {"odd": 1}}))
    guard = Edictum.from_bundle_dict(rules, custom_operators={"odd": odd})
    with pytest.raises(EdictumDenied):
        asyncio.run(guard.run("tool", {"a": "x"}, lambda **given: "ran"))
    assert asked == ["x"]

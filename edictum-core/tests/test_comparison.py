"""
What differs between two rulesets in meaning, and what is only another spelling.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from edictum import Edictum
from edictum.ruleset.comparison import ABSENT, Change, compare_rulesets
from edictum.testing.strategies import rulesets
from guards import ask, post, pre, ruleset, session_rule
from hypothesis import given
from hypothesis import strategies as st

Data = dict[str, Any]

BOX = {"id": "box", "type": "sandbox", "tool": "bash", "within": ["."], "message": "stay"}


def changed(before: Data, after: Data) -> list[tuple[str, Any, Any]]:
    """
    The changes of the only rule that changes.
    """
    comparison = compare_rulesets(before, after)
    (rule,) = comparison.changed
    assert (comparison.added, comparison.removed, comparison.settings) == ([], [], [])
    return [(".".join(map(str, change.path)), change.old, change.new) for change in rule.changes]


def ids(rules: list[Any]) -> list[tuple[str, str]]:
    return [(rule.id, rule.type) for rule in rules]


# --- rules ---------------------------------------------------------------------------------------


def test_compare_rules_by_id_with_their_type() -> None:
    before = ruleset(pre("a"), post("b"), session_rule("c"), BOX)
    after = ruleset(pre("a"), post("b", action="block"), BOX, pre("d"))
    found = compare_rulesets(before, after)
    assert ids(found.added) == [("d", "pre")]
    assert ids(found.removed) == [("c", "session")]
    assert ids(found.changed) == [("b", "post")]
    assert ids(found.unchanged) == [("a", "pre"), ("box", "sandbox")]
    assert found.has_changes


def test_compare_operand_names_the_place_and_both_values() -> None:
    before = pre(when={"any": [{"args.path": {"contains": ".env"}}, {"args.n": {"gt": 1}}]})
    after = pre(when={"any": [{"args.path": {"contains": ".pem"}}, {"args.n": {"gt": 1}}]})
    assert changed(ruleset(before), ruleset(after)) == [("when.any.0.args.path.contains", ".env", ".pem")]


def test_compare_item_put_in_front_does_not_change_those_behind() -> None:
    items = [{"args.path": {"contains": word}} for word in ("a", "b", "c")]
    new = {"args.path": {"contains": "new"}}
    before, after = pre(when={"any": items}), pre(when={"any": [new, *items]})
    assert changed(ruleset(before), ruleset(after)) == [("when.any.0", ABSENT, new)]
    assert changed(ruleset(after), ruleset(before)) == [("when.any.0", new, ABSENT)]


def test_compare_tools_lists_what_came_and_what_went() -> None:
    before, after = pre(tools=["a", "b", "c"]), pre(tools=["c", "d", "b"])
    del before["tool"], after["tool"]
    assert changed(ruleset(before), ruleset(after)) == [("tools", "a", ABSENT), ("tools", ABSENT, "d")]


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        (pre(), pre(mode="observe"), "mode"),
        (pre(), pre(enabled=False), "enabled"),
        (pre(), pre(message="other"), "then.message"),
        (ask(), ask(timeout=60), "then.timeout"),
        (ask(), ask(timeout_action="allow"), "then.timeout_action"),
        (pre(), pre(metadata={"owner": "a"}), "then.metadata.owner"),
        (BOX, {**BOX, "outside": "ask", "timeout": 300}, "outside"),
        (BOX, {**BOX, "allows": {"commands": ["ls"]}}, "allows.commands"),
        (BOX, {**BOX, "strict_interpreters": True}, "strict_interpreters"),
        (session_rule(), session_rule(limits={"max_tool_calls": 2}), "limits.max_tool_calls"),
    ],
)
def test_compare_each_key_of_a_rule_counts(before: Data, after: Data, path: str) -> None:
    assert path in [place for place, _, _ in changed(ruleset(before), ruleset(after))]


def test_compare_number_and_truth_value_differ_but_whole_floats_do_not() -> None:
    one, whole, true = (pre(when={"args.x": {"equals": value}}) for value in (1, 1.0, True))
    assert not compare_rulesets(ruleset(one), ruleset(whole)).has_changes
    assert changed(ruleset(one), ruleset(true)) == [("when.args.x.equals", 1, True)]


def test_compare_content_of_a_disabled_rule_counts() -> None:
    before, after = pre(enabled=False), pre(enabled=False, message="other")
    assert changed(ruleset(before), ruleset(after)) == [("then.message", "no-read says no", "other")]


# --- what is no change ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (pre(tool="a"), {**{k: v for k, v in pre().items() if k != "tool"}, "tools": ["a"]}),
        (pre(), pre(mode="enforce", enabled=True)),
        (pre(), pre(timeout=60)),  # nobody is asked
        (ask(), ask(timeout=300, timeout_action="block")),
        (ask(timeout_action="allow"), ask(timeout_effect="allow")),
        (pre(when={"args.a": {"exists": True}}), pre(when={"all": [{"any": [{"args.a": {"exists": True}}]}]})),
        (pre(when={"args.a": {"in": ["x", "y"]}}), pre(when={"args.a": {"in": ["y", "x", "y"]}})),
        ({**BOX, "outside": "ask"}, {**BOX, "outside": "approve", "timeout": 300}),
        ({**BOX, "within": ["a", "b"]}, {**BOX, "within": ["b", "a"]}),
        (pre(tags=["a", "b"]), pre(tags=["b", "a"])),
    ],
)
def test_compare_other_spelling_is_no_change(before: Data, after: Data) -> None:
    assert not compare_rulesets(ruleset(before), ruleset(after)).has_changes
    assert not compare_rulesets(ruleset(after), ruleset(before)).has_changes


def test_compare_order_of_all_counts_because_it_ends_early() -> None:
    """
    What stands behind a false item is not judged and cannot fail.
    """
    first, second = {"args.a": {"exists": True}}, {"args.a": {"gt": 1}}
    assert changed(ruleset(pre(when={"all": [first, second]})), ruleset(pre(when={"all": [second, first]})))


# --- settings and order --------------------------------------------------------------------------


def test_compare_default_mode_changes_the_rules_that_follow_it() -> None:
    rules = [pre("follows"), pre("own", mode="enforce")]
    found = compare_rulesets(ruleset(*rules), ruleset(*rules, mode="observe"))
    assert found.settings == [Change(("defaults", "mode"), "enforce", "observe")]
    assert ids(found.changed) == [("follows", "pre")]
    assert found.has_changes


@pytest.mark.parametrize(
    ("top", "path"),
    [
        ({"tools": {"read": {"side_effect": "read"}}}, ("tools", "read")),
        ({"metadata": {"name": "other"}}, ("metadata", "name")),
        ({"metadata": {"name": "tests", "description": "x"}}, ("metadata", "description")),
        ({"observability": {"stdout": True}}, ("observability", "stdout")),
        ({"observe_alongside": True}, ("observe_alongside",)),
    ],
)
def test_compare_each_setting_counts(top: Data, path: tuple[str, ...]) -> None:
    found = compare_rulesets(ruleset(pre()), ruleset(pre(), **top))
    assert [change.path for change in found.settings] == [path]
    assert found.has_changes


def test_compare_order_of_rules_of_one_type_counts() -> None:
    a, b, c = pre("a"), pre("b"), pre("c")
    found = compare_rulesets(ruleset(a, b, c), ruleset(c, a, b))
    assert (found.moved, found.changed) == (["c"], [])
    assert found.has_changes


def test_compare_order_of_rules_of_different_types_means_nothing() -> None:
    a, b = pre("a"), session_rule("b")
    assert not compare_rulesets(ruleset(a, b), ruleset(b, a)).has_changes


# --- properties ----------------------------------------------------------------------------------


def respelled(draw: st.DrawFn, value: Any) -> Any:
    """
    The same data in another order of keys.
    """
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: respelled(draw, value[key]) for key in keys}
    return [respelled(draw, item) for item in value] if isinstance(value, list) else value


@st.composite
def spellings(draw: st.DrawFn) -> tuple[Data, Data]:
    """
    A document, and another that means the same.
    """
    document = draw(rulesets(sandbox=True, for_readers=True))
    other = respelled(draw, copy.deepcopy(document))
    for rule in other["rules"]:
        if "tool" in rule and draw(st.booleans()):
            rule["tools"] = [rule.pop("tool")]
        if "tools" in rule:
            rule["tools"] = draw(st.permutations(rule["tools"]))
        if draw(st.booleans()):
            rule.setdefault("enabled", True)
            rule.setdefault("mode", other["defaults"]["mode"])
        if "when" in rule and draw(st.booleans()):
            rule["when"] = {draw(st.sampled_from(["all", "any"])): [rule["when"]]}
        holder = rule.get("then", rule)
        if "timeout_action" in holder:
            holder["timeout_effect"] = holder.pop("timeout_action")
        if rule.get("outside") == "ask":
            rule["outside"] = "approve"
    return document, other


@pytest.mark.property
@given(spellings())
def test_compare_document_with_another_spelling_of_it_is_empty(pair: tuple[Data, Data]) -> None:
    assert not compare_rulesets(*pair).has_changes


@pytest.mark.property
@given(rulesets(), rulesets())
def test_compare_the_other_way_round_swaps_both_sides(before: Data, after: Data) -> None:
    there, back = compare_rulesets(before, after), compare_rulesets(after, before)
    assert [rule.id for rule in there.added] == [rule.id for rule in back.removed]
    assert {rule.id for rule in there.changed} == {rule.id for rule in back.changed}
    assert there.has_changes == back.has_changes


@pytest.mark.property
@given(rulesets(), rulesets())
def test_compare_no_change_means_that_the_same_is_in_force(before: Data, after: Data) -> None:
    """
    The description of a guard is an independent view of what a ruleset says, though not of its conditions.
    """
    after = {**after, "rules": copy.deepcopy(before["rules"])}
    if not compare_rulesets(before, after).has_changes:
        one, other = (Edictum.from_bundle_dict(data).describe() for data in (before, after))
        for key in ("mode", "rules", "disabled_rules", "limits", "tools", "ruleset"):
            assert json.dumps(one[key], sort_keys=True) == json.dumps(other[key], sort_keys=True)

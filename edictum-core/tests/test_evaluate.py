"""
Dry runs: what all rules say about a call, with no effect at all.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from edictum import (
    ContractResult,
    Decision,
    Edictum,
    HookDecision,
    HookRegistration,
    OperationLimits,
    Principal,
    RuleResult,
    ToolCall,
    postcondition,
    precondition,
)
from edictum.testing import AutoApprovalBackend, ManualClock
from guards import CANNOT_BE_JUDGED, Callbacks, ask, events_of, guard_of, post, pre, session_rule


def verdicts(guard: Edictum, tool: str = "read", **options: Any) -> dict[str, bool]:
    return {rule.rule_id: rule.passed for rule in guard.evaluate(tool, {"path": "a"}, **options).rules}


def test_evaluate_judges_all_rules_of_the_tool_without_stopping() -> None:
    rules = [pre("one"), pre("two", when={"args.path": {"equals": "b"}}), ask("three"), pre("four", tool="write")]
    result = guard_of(*rules).evaluate("read", {"path": "a"})
    assert [(rule.rule_id, rule.passed, rule.action) for rule in result.rules] == [
        ("one", False, "block"),
        ("two", True, "block"),
        ("three", False, "ask"),
    ]
    assert result.rules_evaluated == 3
    assert result.block_reasons == ["one says no", "may it run?"]
    assert (result.decision, result.would_ask, result.tool_name) == ("block", False, "read")


def test_evaluate_without_a_broken_rule_allows() -> None:
    result = guard_of(pre(tool="write")).evaluate("read", {})
    assert (result.decision, result.rules, result.block_reasons, result.policy_error) == ("allow", [], [], False)


@pytest.mark.parametrize(("ask_as", "decision"), [("block", "block"), ("ask", "ask")])
def test_evaluate_ask_is_reported_as_wanted(ask_as: Any, decision: str) -> None:
    result = guard_of(ask()).evaluate("read", {}, ask_as=ask_as)
    assert (result.decision, result.would_ask, result.block_reasons) == (decision, True, ["may it run?"])


def test_evaluate_block_beside_ask_is_a_block() -> None:
    result = guard_of(ask(), pre()).evaluate("read", {}, ask_as="ask")
    assert (result.decision, result.would_ask) == ("block", False)


def test_evaluate_observing_rules_are_listed_and_never_count() -> None:
    guard = guard_of(pre(mode="observe", when=CANNOT_BE_JUDGED), post(mode="observe"))
    result = guard.evaluate("read", {"path": "a"}, output="hunter2")
    assert [(rule.passed, rule.observed) for rule in result.rules] == [(False, True)] * 2
    assert (result.decision, result.policy_error, result.warn_reasons) == ("allow", False, [])


@pytest.mark.parametrize("action", ["warn", "redact", "block"])
def test_evaluate_output_is_judged_by_post_rules_which_only_warn(action: str) -> None:
    guard = guard_of(post(action=action))
    assert guard.evaluate("read", {}).rules == []
    result = guard.evaluate("read", {}, output="hunter2")
    assert (result.decision, result.warn_reasons) == ("warn", ["bad-output says no"])
    assert [(rule.rule_type, rule.action) for rule in result.rules] == [("postcondition", action)]
    assert guard.evaluate("read", {}, output="fine").decision == "allow"


def test_evaluate_takes_principal_environment_and_metadata() -> None:
    rules = [
        pre("role", when={"principal.role": {"equals": "intern"}}),
        pre("place", when={"environment": {"equals": "staging"}}),
        pre("note", when={"metadata.kind": {"equals": "x"}}),
    ]
    guard = guard_of(*rules, environment="staging", principal=Principal(role="intern"))
    assert verdicts(guard) == {"role": True, "place": False, "note": True}
    given = verdicts(guard, principal=Principal(role="intern"), environment="production", metadata={"kind": "x"})
    assert given == {"role": False, "place": True, "note": False}


def test_evaluate_rule_that_cannot_be_judged_blocks_with_policy_error() -> None:
    result = guard_of(pre(when=CANNOT_BE_JUDGED)).evaluate("read", {"path": "a"})
    assert (result.decision, result.policy_error, result.rules[0].policy_error) == ("block", True, True)


def test_evaluate_has_no_effect() -> None:
    """
    No session, limit, hook, approval, callback or event takes part.
    """
    told = Callbacks()
    asked: list[str] = []

    def hook(call: ToolCall) -> HookDecision:
        asked.append(call.tool_name)
        return HookDecision.block("no")

    backend = AutoApprovalBackend()
    guard = guard_of(
        session_rule(limits={"max_tool_calls": 1}),
        ask(tool="write"),
        hooks=[HookRegistration("before", "*", hook)],
        limits=OperationLimits(max_attempts=0),
        approval_backend=backend,
        **told.options,
    )
    assert guard.evaluate("read", {}).decision == "allow"
    guard.evaluate("write", {})
    assert (events_of(guard), asked, backend.requests, told.counts) == ([], [], [], (0, 0, 0))


def test_evaluate_python_rules_take_part() -> None:
    @precondition("*", when=lambda call: "path" in call.args)
    def before(call: ToolCall) -> Decision:
        return Decision.fail("before")

    @postcondition("*")
    def after(call: ToolCall, result: Any) -> Decision:
        return Decision.fail(f"after {result}")

    guard = Edictum(rules=[before, after])
    result = guard.evaluate("read", {"path": "a"}, output=5)
    assert (result.block_reasons, result.warn_reasons) == (["before"], ["after 5"])
    assert guard.evaluate("read", {}).decision == "allow"


def test_evaluate_asynchronous_rule_is_a_policy_error() -> None:
    @precondition("*")
    async def slow(call: ToolCall) -> Decision:
        return Decision.pass_()

    result = Edictum(rules=[slow]).evaluate("read", {})
    assert (result.decision, result.policy_error) == ("block", True)
    assert result.rules[0].rule_id == "slow"


def test_evaluate_stamps_the_call_with_the_guards_clock() -> None:
    clock = ManualClock(datetime(2030, 1, 2, tzinfo=UTC))
    seen: list[datetime] = []

    @precondition("*")
    def note(call: ToolCall) -> Decision:
        seen.append(call.timestamp)
        return Decision.pass_()

    Edictum(rules=[note], clock=clock).evaluate("read", {})
    assert seen == [clock.now()]


# --- several calls -----------------------------------------------------------------------------------------


def test_evaluate_batch_judges_each_call() -> None:
    rules = [
        pre(when={"principal.org_id": {"equals": "o1"}}),
        pre("service", when={"principal.service_id": {"equals": "s1"}}),
        pre("place", when={"environment": {"equals": "staging"}}),
        post(when={"output.text": {"contains": '"pw": "hunter2"'}}),
    ]
    results = guard_of(*rules).evaluate_batch(
        [
            {"tool": "read"},
            {"tool": "read", "args": {"path": "a"}, "principal": {"org_id": "o1", "service_id": "s1"}},
            {"tool": "read", "environment": "staging"},
            {"tool": "read", "output": {"pw": "hunter2"}},
            {"tool": "read", "output": "fine", "principal": None},
        ]
    )
    assert [result.decision for result in results] == ["allow", "block", "block", "warn", "allow"]
    assert results[1].block_reasons == ["no-read says no", "service says no"]


@pytest.mark.fault
@pytest.mark.parametrize(
    "item",
    [
        {},
        {"tool": 5},
        {"tool": None, "args": {}},
        "read",
        None,
        {"tool": "read", "args": [1]},
        {"tool": "read", "principal": {"shoe_size": 43}},
        {"tool": "read", "output": {"x": {1, 2}}},
    ],
)
def test_evaluate_batch_call_that_cannot_be_read_blocks_and_the_rest_is_judged(item: Any) -> None:
    bad, good = guard_of().evaluate_batch([item, {"tool": "read"}])
    assert (bad.decision, bad.policy_error, len(bad.block_reasons)) == ("block", True, 1)
    assert bad.rules[0].policy_error is True
    assert good.decision == "allow"


# --- the values ---------------------------------------------------------------------------------------------


def test_evaluation_result_is_json_ready() -> None:
    result = guard_of(pre(tags=["a"]), post()).evaluate("read", {}, output="hunter2")
    data = json.loads(json.dumps(result.to_dict()))
    assert data["decision"] == "block"
    assert [rule["rule_id"] for rule in data["rules"]] == ["no-read", "bad-output"]
    assert data["rules"][0]["tags"] == ["a"]


def test_rule_result_accepts_and_shows_its_older_names() -> None:
    result = RuleResult(contract_id="a", contract_type="precondition", passed=True)
    assert (result.rule_id, result.rule_type) == (result.contract_id, result.contract_type) == ("a", "precondition")
    assert result.action == "warn"
    assert ContractResult is RuleResult

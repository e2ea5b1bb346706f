"""
The order of checks, driven with plain data: a plan, a call, numbers, and scripted answers; no guard and no storage.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from call_strategies import pre, session_rule
from edictum import OperationLimits, create_tool_call, precondition, session_contract
from edictum.engine.decide import decide, observe
from edictum.engine.outcome import Answer
from edictum.engine.plan import ToolPlan
from hypothesis import given
from hypothesis import strategies as st
from plans import CALL, FAILS, FIRES, FRESH, PASSES, Asked, before, compiled, decided, plan, python_rule

NO = Answer(False, "no")


def everything() -> ToolPlan:
    """
    One of every check, each of which can block.
    """
    return plan(
        *compiled(
            session_rule(rule_id="calls", max_tool_calls=3, max_calls_per_tool={"t*": 2}),
            pre(FIRES, rule_id="first"),
        ),
        python_rule(precondition("*"), "second"),
        python_rule(session_contract, "last"),
        hooks=[before("hook")],
        limits=OperationLimits(max_attempts=4, max_tool_calls=9),
    )


# --- order ---------------------------------------------------------------------------------------


def test_decide_on_everything_broken_blocks_in_the_order_of_checks() -> None:
    """
    Each check decides once all before it are satisfied.
    """
    blocking = {"hook": NO, "second": NO, "last": NO}
    passing_call = create_tool_call("tool", {"a": 2})
    over = (5, 9, 9, 9)

    def outcome(counts: Sequence[float], call: Any = passing_call, **answers: Answer) -> tuple[Any, ...]:
        decision = Asked(**answers).drive(decide(everything(), call, counts))
        return decision.action, decision.decision_source, decision.decision_name

    assert outcome(over, CALL, **blocking) == ("block", "attempt_limit", "max_attempts")
    assert outcome((4, 9, 9, 9), CALL, **blocking) == ("block", "hook", "hook")
    assert outcome((4, 9, 9, 9), CALL, second=NO, last=NO) == ("block", "yaml_precondition", "first")
    assert outcome((4, 9, 9, 9), second=NO, last=NO) == ("block", "precondition", "second")
    assert outcome((4, 9, 9, 9), last=NO) == ("block", "yaml_session", "calls")
    assert outcome((4, 2, 9, 9), last=NO) == ("block", "session_contract", "last")
    assert outcome((4, 2, 9, 9)) == ("block", "operation_limit", "max_calls_per_tool:tool")
    assert outcome((4, 2, 9, 1)) == ("allow", None, None)


def test_decide_checks_executions_of_the_session_before_those_of_the_tool() -> None:
    made = plan(limits=OperationLimits(max_tool_calls=2, max_calls_per_tool={"tool": 2}))

    assert decided(made, (1, 2, 2)).decision_name == "max_tool_calls"
    assert decided(made, (1, 1, 2)).decision_name == "max_calls_per_tool:tool"
    assert decided(made, (1, 1, 1)).action == "allow"


def test_decide_judges_the_name_after_the_rules_and_before_the_limits() -> None:
    bad = "no/such"
    limits = OperationLimits(max_tool_calls=0)

    ruled = plan(*compiled(pre(FIRES)), tool=bad, limits=limits)
    unruled = plan(*compiled(pre(PASSES)), tool=bad, limits=limits)
    lenient = plan(*compiled(pre(PASSES)), tool=bad, limits=limits, strict_names=False)

    assert decided(ruled).decision_source == "yaml_precondition"
    assert decided(unruled).decision_source == "invalid_tool_name"
    assert decided(lenient).decision_source == "operation_limit"


@pytest.mark.parametrize(("attempts", "action"), [(1, "allow"), (3, "allow"), (4, "block")])
def test_decide_attempt_limit_counts_the_attempts_before_this_one(attempts: int, action: str) -> None:
    decision = decided(plan(limits=OperationLimits(max_attempts=3)), (attempts, 0, 0))

    assert action == decision.action
    if action == "block":
        assert "limit" in str(decision.reason)
        assert "retry" in str(decision.reason)
        assert "3" in str(decision.reason)


def test_decide_first_rule_in_document_order_that_blocks_decides() -> None:
    rules = compiled(
        pre(PASSES, rule_id="passes"),
        pre(FIRES, rule_id="one", message="first"),
        pre(FIRES, rule_id="two", message="second"),
    )
    for order in itertools.permutations(rules):
        names = [rule.id for rule in order]
        decision = decided(plan(*order))

        assert min(["one", "two"], key=names.index) == decision.decision_name
        judged = [record["name"] for record in decision.contracts_evaluated]
        assert names[: names.index(str(decision.decision_name)) + 1] == judged


def test_decide_rule_that_cannot_be_judged_blocks_with_its_own_message() -> None:
    decision = decided(plan(*compiled(pre(FAILS, rule_id="odd", message="not so"))))

    assert (
        decision.action,
        decision.decision_name,
        decision.reason,
        decision.policy_error,
    ) == ("block", "odd", "not so", True)
    (record,) = decision.contracts_evaluated
    assert record["metadata"]["policy_error"] is True
    assert "contains" in record["metadata"]["error_detail"]


def test_decide_without_any_rule_allows_and_records_nothing() -> None:
    decision = decided(plan())

    assert decision.action == "allow"
    assert list(decision.contracts_evaluated) == []
    assert not decision.observed


# --- questions -----------------------------------------------------------------------------------


def questioned(**answers: Answer) -> list[str]:
    made = plan(
        python_rule(session_contract, "session"),
        python_rule(precondition("*"), "one"),
        python_rule(precondition("*"), "ask", effect="ask"),
        python_rule(precondition("other"), "elsewhere"),
        python_rule(precondition("*"), "muted", mode="observe"),
        python_rule(precondition("*"), "two"),
        hooks=[before("hook1"), before("hook2")],
    )
    asked = Asked(**answers)
    asked.drive(decide(made, CALL, FRESH))
    return asked.names


def test_decide_asks_hooks_then_pre_rules_then_session_rules() -> None:
    assert questioned() == ["hook1", "hook2", "one", "ask", "muted", "two", "session"]


@pytest.mark.parametrize(
    ("refusing", "asked"),
    [
        ("hook1", ["hook1"]),
        ("hook2", ["hook1", "hook2"]),
        ("one", ["hook1", "hook2", "one"]),
        ("ask", ["hook1", "hook2", "one", "ask", "muted", "two", "session"]),
        ("muted", ["hook1", "hook2", "one", "ask", "muted", "two", "session"]),
        ("two", ["hook1", "hook2", "one", "ask", "muted", "two"]),
    ],
)
def test_decide_asks_nothing_after_a_block(refusing: str, asked: list[str]) -> None:
    assert asked == questioned(**{refusing: NO})


def test_decide_hook_that_failed_blocks_as_a_policy_error() -> None:
    decision = decided(plan(hooks=[before("hook")]), hook=Answer(False, error="RuntimeError: broken"))

    assert (
        decision.action,
        decision.decision_source,
        decision.decision_name,
        decision.policy_error,
    ) == ("block", "hook", "hook", True)
    assert "hook" in str(decision.reason)
    assert "broken" not in str(decision.reason)
    assert [record["result"] for record in decision.hooks_evaluated] == ["block"]


# --- asks ----------------------------------------------------------------------------------------


def test_decide_several_asks_are_one_request_in_the_words_of_the_first() -> None:
    decision = decided(
        plan(
            *compiled(
                pre(FIRES, "ask", rule_id="a", message="first", timeout=60, timeout_action="allow"),
                pre(PASSES, "ask", rule_id="b", message="passes", timeout=1),
                pre(FIRES, "ask", rule_id="c", message="third", timeout=30, timeout_action="allow"),
            )
        )
    )

    assert decision.action == "pending_approval"
    assert (decision.decision_source, decision.decision_name, decision.reason) == ("yaml_precondition", "a", "first")
    assert decision.approval_message == "first"
    assert decision.approval_rules == ("a", "c")
    assert (decision.approval_timeout, decision.approval_timeout_action) == (30, "allow")


@pytest.mark.property
@given(st.lists(st.tuples(st.integers(1, 900), st.sampled_from(["block", "allow"])), min_size=1, max_size=6))
def test_decide_asks_wait_the_shortest_time_and_allow_only_if_all_do(asks: list[tuple[int, str]]) -> None:
    rules = [
        pre(FIRES, "ask", rule_id=f"r{number}", timeout=timeout, timeout_action=action)
        for number, (timeout, action) in enumerate(asks)
    ]
    decision = decided(plan(*compiled(*rules)))

    assert min(timeout for timeout, _ in asks) == decision.approval_timeout
    assert ("block" if ("block" in [action for _, action in asks]) else "allow") == decision.approval_timeout_action
    assert tuple(f"r{number}" for number in range(len(asks))) == decision.approval_rules


ASK = pre(FIRES, "ask", rule_id="ask")


@pytest.mark.parametrize(
    ("rules", "counts", "limits", "name"),
    [
        ([ASK, pre(FIRES, rule_id="block")], FRESH, None, "block"),
        ([ASK, pre(FAILS, rule_id="odd")], FRESH, None, "odd"),
        ([ASK, session_rule(max_tool_calls=2)], (1, 2, 0), None, "cap"),
        ([ASK], (1, 2, 0), OperationLimits(max_tool_calls=2), "max_tool_calls"),
        ([ASK], (1, 0, 2), OperationLimits(max_calls_per_tool={"tool": 2}), "max_calls_per_tool:tool"),
    ],
)
def test_decide_later_block_wins_over_an_ask(
    rules: list[dict[str, Any]], counts: Sequence[float], limits: OperationLimits | None, name: str
) -> None:
    decision = decided(plan(*compiled(*rules), limits=limits), counts)

    assert ("block", name) == (decision.action, decision.decision_name)
    assert decision.contracts_evaluated[0]["name"] == "ask"


def test_decide_ask_that_cannot_be_judged_asks_with_a_policy_error() -> None:
    decision = decided(plan(*compiled(pre(FAILS, "ask"))))

    assert (decision.action, decision.policy_error) == ("pending_approval", True)


# --- observing -----------------------------------------------------------------------------------


def test_decide_rules_in_observe_mode_are_recorded_and_never_decide() -> None:
    made = plan(
        *compiled(
            pre(FIRES, rule_id="block", mode="observe"),
            pre(FIRES, "ask", rule_id="ask", mode="observe"),
            pre(FAILS, rule_id="odd", mode="observe"),
            pre(PASSES, rule_id="passes", mode="observe"),
            session_rule(rule_id="cap", mode="observe", max_tool_calls=1, max_attempts=1, max_calls_per_tool={"*": 1}),
        ),
        python_rule(session_contract, "python", mode="observe"),
    )
    decision = decided(made, (9, 9, 9), python=NO)

    assert (decision.action, decision.decision_name, decision.policy_error) == ("allow", None, False)
    assert decision.observed
    assert [fired.rule.id for fired in decision.observed_rules] == ["block", "ask", "odd", "cap", "python"]
    assert all(record["observed"] for record in decision.contracts_evaluated)


@pytest.mark.parametrize(("counts", "fired"), [((1, 0, 1), []), ((1, 0, 2), ["cap"])])
def test_decide_observed_session_rule_sees_its_limits_on_tools(counts: Sequence[float], fired: list[str]) -> None:
    """
    In force they would be met in the last step; observed, nobody else would report them.
    """
    rule = session_rule(mode="observe", max_calls_per_tool={"tool": 2, "other": 1})
    decision = decided(plan(*compiled(rule)), counts)

    assert decision.action == "allow"
    assert [found.rule.id for found in decision.observed_rules] == fired


def test_observe_judges_candidates_beside_the_decision() -> None:
    made = plan(
        *compiled(pre(FIRES, rule_id="enforced")),
        python_rule(precondition("*"), "strict", observe=True),
        python_rule(session_contract, "calm", observe=True),
    )
    asked = Asked(strict=NO)

    records = asked.drive(observe(made, CALL, FRESH))

    assert asked.names == ["strict", "calm"]
    assert [(record["name"], record["passed"], record["message"]) for record in records] == [
        ("strict", False, "no"),
        ("calm", True, None),
    ]
    assert [record["name"] for record in decided(made).contracts_evaluated] == ["enforced"]


# --- judging again after an approval -------------------------------------------------------------


def test_decide_again_judges_session_rules_and_limits_only() -> None:
    made = everything()
    asked = Asked(hook=NO, second=NO, last=NO)

    decision = asked.drive(decide(made, CALL, (4, 0, 0, 0), recheck=True))

    assert asked.names == ["last"]
    assert (decision.action, decision.decision_source) == ("block", "session_contract")


@pytest.mark.parametrize(
    ("counts", "name"),
    [((4, 3, 0, 0), "calls"), ((4, 0, 0, 2), "max_calls_per_tool:tool"), ((4, 2, 9, 1), None)],
)
def test_decide_again_blocks_what_was_used_up_meanwhile(counts: Sequence[float], name: str | None) -> None:
    decision = decided(everything(), counts, recheck=True, hook=NO, second=NO)

    assert (("allow" if name is None else "block"), name) == (decision.action, decision.decision_name)


def test_decide_again_never_asks_a_second_time() -> None:
    made = plan(*compiled(ASK, session_rule(max_tool_calls=5)))

    assert decided(made).action == "pending_approval"
    assert decided(made, recheck=True).action == "allow"

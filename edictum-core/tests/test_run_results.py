"""
What the agent gets to see of a result: warned of, redacted or withheld.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from edictum import (
    EdictumDenied,
    EdictumToolError,
    Finding,
    RunResult,
)
from guards import Tool, events_of, guard_of, post, pre, run

SIGN = "\u26a0\ufe0f "
TEXTS = {
    "warn": "bad-output says no",
    "redact": "rule 'bad-output' redacted the output: bad-output says no",
    "block": "rule 'bad-output' withheld the output: bad-output says no",
}
SHOWN = {"warn": "pw hunter2", "redact": "pw [REDACTED]", "block": "[OUTPUT SUPPRESSED] bad-output says no"}


@pytest.mark.parametrize("side_effect", ["pure", "read", "write", "irreversible"])
@pytest.mark.parametrize("action", ["warn", "redact", "block"])
def test_run_post_rule_acts_by_side_effect(action: str, side_effect: str) -> None:
    """
    What a tool already changed is not undone by hiding its output, so there every action only warns.
    """
    guard = guard_of(post(action=action), tools={"tool": {"side_effect": side_effect}})
    outcome = asyncio.run(guard.run_detailed("tool", {}, Tool("pw hunter2")))
    effective = action if side_effect in ("pure", "read") else "warn"
    assert outcome.result == SHOWN[effective]
    assert outcome.output_suppressed is (effective == "block")
    (warning,) = outcome.warnings
    assert warning.startswith(SIGN + TEXTS[effective])
    if side_effect in ("write", "irreversible"):
        assert "already executed" in warning
    event = events_of(guard)[-1]
    assert (str(event.action), event.postconditions_passed, event.warnings) == ("call_executed", False, [warning])
    (record,) = event.contracts_evaluated
    assert (record["action"], record["effective_action"]) == (action, effective)


def test_run_redactions_build_on_each_other_and_a_block_replaces_them() -> None:
    first = post("first", action="redact", when={"output.text": {"matches": "b+"}})
    second = post("second", action="redact", when={"output.text": {"contains": "c"}})
    last = post("last", action="block", when={"output.text": {"contains": "a"}})
    assert run(guard_of(first, second), Tool("a bb c")) == "a [REDACTED] [REDACTED]"
    assert run(guard_of(first, last, second), Tool("a bb c")) == "[OUTPUT SUPPRESSED] last says no"


@dataclass
class Row:
    name: str
    secrets: tuple[str, ...]


def test_run_redact_keeps_the_type_of_the_result() -> None:
    guard = guard_of(post(action="redact"))
    assert run(guard, Tool({"a": ["hunter2", 1]})) == {"a": ["[REDACTED]", 1]}
    assert run(guard, Tool(Row("hunter2", ("x",)))) == Row("[REDACTED]", ("x",))


@pytest.mark.security
def test_run_redact_rule_that_cannot_be_judged_withholds_the_output() -> None:
    rule = post(action="redact", when={"result.size": {"gt": 1}})
    outcome = asyncio.run(guard_of(rule).run_detailed("read", {}, Tool({"size": "big", "pw": "hunter2"})))
    assert outcome.output_suppressed is True
    assert "hunter2" not in str(outcome.result)


def test_run_detailed_tells_everything() -> None:
    guard = guard_of(post(metadata={"field": "body"}))
    outcome = asyncio.run(guard.run_detailed("read", {}, Tool("hunter2")))
    assert isinstance(outcome, RunResult)
    assert (outcome.result, outcome.tool_success, outcome.output_suppressed) == ("hunter2", True, False)
    assert (outcome.decision.action, outcome.unwrap()) == ("allow", "hunter2")
    (found,) = outcome.violations
    assert (found.rule_id, found.field, found.type) == ("bad-output", "body", "policy_violation")
    assert (found.message, found.metadata["field"]) == ("bad-output says no", "body")
    assert outcome.events == events_of(guard)


def test_run_detailed_of_a_failing_or_blocked_call_raises() -> None:
    with pytest.raises(EdictumToolError):
        asyncio.run(guard_of().run_detailed("read", {}, Tool("error: x")))
    with pytest.raises(EdictumDenied):
        asyncio.run(guard_of(pre()).run_detailed("read", {}, Tool()))


def test_on_postcondition_warn_once_per_call_replaces_the_result() -> None:
    told: list[tuple[Any, list[Finding]]] = []

    def show(result: Any, violations: list[Finding]) -> str:
        told.append((result, violations))
        return f"{result} (checked)"

    guard = guard_of(post("one", action="redact"), post("two"), on_postcondition_warn=show)
    assert run(guard, Tool("hunter2")) == "[REDACTED] (checked)"
    assert run(guard, Tool("fine")) == "fine"
    ((result, violations),) = told
    assert result == "[REDACTED]"
    assert [found.rule_id for found in violations] == ["one", "two"]


def test_run_detailed_violations_are_those_of_enforcing_rules_that_fired() -> None:
    rules = [post("real"), post("muted", mode="observe"), post("idle", when={"output.text": {"contains": "other"}})]
    outcome = asyncio.run(guard_of(*rules).run_detailed("read", {}, Tool("hunter2")))
    assert [found.rule_id for found in outcome.violations] == ["real"]


@pytest.mark.fault
def test_on_postcondition_warn_that_raises_leaves_the_result() -> None:
    def show(result: Any, violations: list[Finding]) -> str:
        raise LookupError("callback")

    assert run(guard_of(post(action="redact"), on_postcondition_warn=show), Tool("hunter2")) == "[REDACTED]"

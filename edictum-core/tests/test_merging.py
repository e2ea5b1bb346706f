"""
Merging several guards into one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from edictum import (
    CollectingAuditSink,
    Decision,
    Edictum,
    EdictumConfigError,
    EdictumDenied,
    HookDecision,
    HookRegistration,
    MemoryBackend,
    OperationLimits,
    Principal,
    SideEffect,
    precondition,
)
from edictum.testing import AutoApprovalBackend
from guards import Callbacks, Tool, actions, ask, denial, events_of, guard_of, post, pre, run, session_rule


def rule_ids(guard: Edictum) -> list[str]:
    return [rule["id"] for rule in guard.describe()["rules"]]


def test_merged_guard_has_the_rules_of_all_in_order() -> None:
    merged = Edictum.from_multiple([guard_of(pre("a", tool="x"), post("p")), guard_of(session_rule("s"), pre("b"))])
    assert rule_ids(merged) == ["a", "p", "s", "b"]
    with pytest.raises(EdictumDenied) as raised:
        run(merged)
    assert raised.value.decision_name == "b"


def test_merged_guard_first_rule_of_an_id_counts_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    first, second = guard_of(pre("a", message="first")), guard_of(post("a"), pre("b"))
    with caplog.at_level(logging.WARNING):
        merged = Edictum.from_multiple([first, second])
    assert rule_ids(merged) == ["a", "b"]
    assert "'a'" in caplog.text
    with pytest.raises(EdictumDenied, match="first"):
        run(merged)


def test_merged_guard_rule_and_candidate_of_one_id_are_two_things() -> None:
    def planned(call: Any) -> Decision:
        return Decision.fail("planned")

    rule: Any = precondition("*")(planned)
    rule._edictum_id = "a"
    rule._edictum_observe = True
    merged = Edictum.from_multiple([guard_of(pre("a", tool="x")), Edictum(rules=[rule])])
    assert rule_ids(merged) == ["a", "a"]
    assert run(merged) == "done"
    assert actions(merged) == ["call_allowed", "call_would_deny", "call_executed"]


def test_merged_guard_configuration_comes_from_the_first() -> None:
    told = Callbacks()
    sink = CollectingAuditSink()
    backend = MemoryBackend()
    approvals = AutoApprovalBackend()
    first = guard_of(
        environment="staging",
        mode="enforce",
        limits=OperationLimits(max_tool_calls=7),
        audit_sink=sink,
        backend=backend,
        approval_backend=approvals,
        success_check=lambda tool, result: True,
        on_postcondition_warn=lambda result, violations: "shown",
        **told.options,
    )
    second = guard_of(ask(), post(), mode="observe", limits=OperationLimits(max_tool_calls=3), environment="live")
    merged = Edictum.from_multiple([first, second])
    assert (merged.environment, merged.mode, merged.limits.max_tool_calls) == ("staging", "enforce", 7)
    assert (merged.backend, merged.redaction) == (backend, first.redaction)
    assert merged.policy_version == first.policy_version
    assert run(merged, Tool("error: hunter2")) == "shown"
    assert len(approvals.requests) == told.counts[1] == 1
    assert sink.events == events_of(merged)
    assert events_of(first) == []


@pytest.mark.parametrize(("first", "second"), [("observe", "enforce"), ("enforce", "observe")])
def test_merged_guard_mode_comes_from_the_first(first: Any, second: Any) -> None:
    merged = Edictum.from_multiple([guard_of(pre(), mode=first), guard_of(mode=second)])
    assert merged.mode == first
    if first == "observe":
        assert run(merged) == "done"
    else:
        denial(merged)


def test_merged_guard_hooks_and_principal_are_not_carried_over() -> None:
    hook = HookRegistration("before", "*", lambda call: HookDecision.block("no"))
    first = guard_of(hooks=[hook], principal=Principal(role="x"), principal_resolver=lambda tool, args: Principal())
    merged = Edictum.from_multiple([first])
    assert run(merged) == "done"
    assert events_of(merged)[0].principal is None


def test_merged_guard_leaves_its_parts_as_they_were() -> None:
    first, second = guard_of(pre("a", tool="x")), guard_of(pre("b"))
    described = first.describe(), second.describe()
    Edictum.from_multiple([first, second], merge="strictest")
    assert (first.describe(), second.describe()) == described


@pytest.mark.parametrize(
    ("merge", "limits", "side_effect"),
    [
        ("first", OperationLimits(9, 9, {"read": 9}), SideEffect.READ),
        ("strictest", OperationLimits(5, 9, {"read": 4, "x": 1}), SideEffect.WRITE),
    ],
)
def test_merged_guard_limits_and_tools_follow_the_merge(merge: Any, limits: OperationLimits, side_effect: Any) -> None:
    first = guard_of(limits=OperationLimits(9, 9, {"read": 9}), tools={"a": {"side_effect": "read"}})
    tools = {"a": {"side_effect": "write"}, "b*": {"side_effect": "pure"}, "read": {"side_effect": "pure"}}
    second = guard_of(limits=OperationLimits(5, 20, {"read": 4, "x": 1}), tools=tools)
    merged = Edictum.from_multiple([first, second], merge=merge)
    assert merged.limits == limits
    assert merged.tool_registry.classify("a")[0] is side_effect
    assert merged.tool_registry.classify("read")[0] is SideEffect.READ
    assert ("b*" in merged.tool_registry.names()) is (merge == "strictest")


def test_merged_guard_strictest_names_all_versions() -> None:
    first, second = guard_of(pre("a")), guard_of(pre("b"))
    merged = Edictum.from_multiple([first, second], merge="strictest")
    swapped = Edictum.from_multiple([second, first], merge="strictest")
    assert len({first.policy_version, second.policy_version, merged.policy_version, swapped.policy_version}) == 4


@pytest.mark.parametrize("merge", ["first", "strictest"])
def test_merged_guard_still_classifies_shell_commands(merge: Any) -> None:
    first = guard_of(tools={"sh": {"side_effect": "read", "shell": True}})
    merged = Edictum.from_multiple([first], merge=merge)
    run(merged, args={"command": "rm -rf x"}, name="sh")
    assert events_of(merged)[0].side_effect == "irreversible"


@pytest.mark.security
def test_merged_guard_keeps_python_rules_whose_functions_share_a_name() -> None:
    def no_calls_of(tool: str) -> Any:
        @precondition(tool)
        def no_calls(call: Any) -> Decision:
            return Decision.fail("no")

        return no_calls

    guard = Edictum(rules=[no_calls_of("read"), no_calls_of("write")])
    for tool in ("read", "write"):
        with pytest.raises(EdictumDenied):
            run(Edictum.from_multiple([guard]), name=tool)


def test_merged_guard_without_parts_or_with_another_merge_is_an_error() -> None:
    with pytest.raises(EdictumConfigError, match="at least one"):
        Edictum.from_multiple([])
    with pytest.raises(EdictumConfigError, match="merge"):
        Edictum.from_multiple([guard_of()], merge="loosest")  # type: ignore[arg-type]


def test_merged_guard_cannot_be_reloaded() -> None:
    merged = Edictum.from_multiple([guard_of(pre())])
    with pytest.raises(EdictumConfigError, match="from_multiple"):
        asyncio.run(merged.reload({}))
    with pytest.raises(EdictumDenied):
        run(merged)

"""
Which events and callbacks a call causes when the guard enforces: the published table, row by row.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest
from edictum import (
    AuditEvent,
    Decision,
    Edictum,
    EdictumDenied,
    EdictumToolError,
    HookDecision,
    HookRegistration,
    MemoryBackend,
    OperationLimits,
    Principal,
    RedactionPolicy,
    ToolCall,
    precondition,
)
from edictum.testing import AutoApprovalBackend
from guards import (
    CANNOT_BE_JUDGED,
    Callbacks,
    Tool,
    actions,
    ask,
    denied,
    events_of,
    granted,
    guard_of,
    post,
    pre,
    run,
    session_rule,
    trace,
    unanswered,
)


def test_events_allowed_call_logs_allowed_and_executed() -> None:
    told = Callbacks()
    guard = guard_of(**told.options)
    tool = Tool("text")
    assert run(guard, tool, {"path": "a"}) == "text"
    assert trace(guard) == [("call_allowed", "enforce", None, None), ("call_executed", "enforce", None, None)]
    assert told.counts == (0, 1, 0)
    assert tool.calls == [{"path": "a"}]


@pytest.mark.parametrize("tool", [Tool("error: no file"), Tool(OSError("no file"))], ids=["result", "exception"])
def test_events_failing_tool_logs_allowed_and_failed(tool: Tool) -> None:
    told = Callbacks()
    guard = guard_of(**told.options)
    with pytest.raises(EdictumToolError):
        run(guard, tool)
    assert trace(guard) == [("call_allowed", "enforce", None, None), ("call_failed", "enforce", None, None)]
    assert told.counts == (0, 1, 0)
    assert events_of(guard)[1].tool_success is False
    assert "no file" in str(events_of(guard)[1].error)


def test_events_blocked_call_logs_denied_only() -> None:
    told = Callbacks()
    guard = guard_of(pre(), **told.options)
    tool = Tool()
    with pytest.raises(EdictumDenied) as raised:
        run(guard, tool)
    assert trace(guard) == [("call_denied", "enforce", "yaml_precondition", "no-read")]
    assert told.blocked == [("read", "no-read says no", "no-read")]
    assert told.counts == (1, 0, 0)
    assert tool.calls == []
    assert raised.value.reason == "no-read says no"
    assert (raised.value.decision_source, raised.value.decision_name) == ("yaml_precondition", "no-read")


@precondition("*")
def only_in_python(call: Any) -> Decision:
    return Decision.fail("not here")


def stop(call: Any) -> HookDecision:
    return HookDecision.block("not now")


@pytest.mark.parametrize(
    ("options", "source", "name"),
    [
        ({"limits": OperationLimits(max_attempts=0)}, "attempt_limit", "max_attempts"),
        ({"limits": OperationLimits(max_tool_calls=0)}, "operation_limit", "max_tool_calls"),
        ({"limits": OperationLimits(max_calls_per_tool={"re*": 0})}, "operation_limit", "max_calls_per_tool:read"),
        ({"hooks": [HookRegistration("before", "*", stop)]}, "hook", "stop"),
        ({"rules": [only_in_python]}, "precondition", "only_in_python"),
        ({"principal_resolver": lambda name, args: "somebody"}, "invalid_call", None),
    ],
)
def test_events_block_carries_its_source_and_name(options: dict[str, Any], source: str, name: str | None) -> None:
    told = Callbacks()
    guard = Edictum(**options, **told.options)
    tool = Tool()
    with pytest.raises(EdictumDenied) as raised:
        run(guard, tool)
    assert trace(guard) == [("call_denied", "enforce", source, name)]
    assert (source, name) == (raised.value.decision_source, raised.value.decision_name)
    assert told.counts == (1, 0, 0)
    assert tool.calls == []


def test_events_session_rule_blocks_with_its_id() -> None:
    told = Callbacks()
    guard = guard_of(session_rule(), **told.options)
    run(guard)
    with pytest.raises(EdictumDenied):
        run(guard)
    assert trace(guard)[2:] == [("call_denied", "enforce", "yaml_session", "few-calls")]
    assert told.counts == (1, 1, 0)


def test_events_invalid_tool_name_is_blocked() -> None:
    guard = guard_of()
    with pytest.raises(EdictumDenied):
        run(guard, name="../read")
    assert trace(guard) == [("call_denied", "enforce", "invalid_tool_name", "tool_name")]


def test_events_invalid_tool_name_blocked_by_rule_carries_the_rule() -> None:
    guard = guard_of(pre("no-up", tool="../*"))
    with pytest.raises(EdictumDenied):
        run(guard, name="../read")
    assert trace(guard) == [("call_denied", "enforce", "yaml_precondition", "no-up")]


@pytest.mark.fault
def test_events_storage_failure_blocks_with_backend_error() -> None:
    class Broken(MemoryBackend):
        async def increment(self, key: str, amount: float = 1) -> float:
            raise ConnectionError("storage is down at host db7")

    told = Callbacks()
    guard = guard_of(backend=Broken(), **told.options)
    with pytest.raises(EdictumDenied) as raised:
        run(guard)
    assert trace(guard) == [("call_denied", "enforce", "backend_error", "session")]
    assert events_of(guard)[0].policy_error is True
    assert events_of(guard)[0].metadata == {"error_detail": "ConnectionError: storage is down at host db7"}
    assert "db7" not in raised.value.reason
    assert told.counts == (1, 0, 0)


def test_events_rule_that_cannot_be_judged_blocks_with_policy_error() -> None:
    guard = guard_of(pre(when=CANNOT_BE_JUDGED))
    with pytest.raises(EdictumDenied, match="no-read says no"):
        run(guard, args={"path": "a"})
    (event,) = events_of(guard)
    assert event.policy_error is True
    assert event.contracts_evaluated[0]["metadata"]["policy_error"] is True


APPROVAL_ROWS = [
    (granted(), "block", ["call_approval_requested", "call_approval_granted", "call_executed"]),
    (denied(), "block", ["call_approval_requested", "call_approval_denied"]),
    (unanswered(), "block", ["call_approval_requested", "call_approval_timeout"]),
    (unanswered(approved=True), "block", ["call_approval_requested", "call_approval_timeout"]),
    (unanswered(), "allow", ["call_approval_requested", "call_approval_timeout", "call_executed"]),
]


@pytest.mark.parametrize(("answer", "timeout_action", "expected"), APPROVAL_ROWS)
def test_events_approval_follow_the_answer(answer: Any, timeout_action: str, expected: list[str]) -> None:
    told = Callbacks()
    guard = guard_of(ask(timeout_action=timeout_action), approval_backend=AutoApprovalBackend(answer), **told.options)
    tool = Tool()
    if expected[-1] == "call_executed":
        assert run(guard, tool) == "done"
        assert told.counts == (0, 1, 0)
    else:
        with pytest.raises(EdictumDenied) as raised:
            run(guard, tool)
        assert (raised.value.decision_source, raised.value.decision_name) == ("yaml_precondition", "ask-first")
        assert told.counts == (1, 0, 0)
        assert tool.calls == []
    deciding = [(action, "enforce", "yaml_precondition", "ask-first") for action in expected if "approval" in action]
    executed = [("call_executed", "enforce", None, None)] if expected[-1] == "call_executed" else []
    assert trace(guard) == deciding + executed


def test_events_ask_without_backend_logs_denied_and_tells_once() -> None:
    told = Callbacks()
    guard = guard_of(ask(), **told.options)
    with pytest.raises(EdictumDenied, match=r"approval.*may it run\?"):
        run(guard)
    assert trace(guard) == [("call_denied", "enforce", "yaml_precondition", "ask-first")]
    assert told.counts == (1, 0, 0)


def test_events_broken_post_rule_marks_the_executed_event() -> None:
    told = Callbacks()
    guard = guard_of(post(), **told.options)
    run(guard, Tool("hunter2"))
    assert actions(guard) == ["call_allowed", "call_executed"]
    executed = events_of(guard)[1]
    assert (executed.tool_success, executed.postconditions_passed) == (True, False)
    assert executed.contracts_evaluated[0]["name"] == "bad-output"
    assert told.counts == (0, 1, 0)


def test_events_carry_policy_version_session_environment_and_principal() -> None:
    guard = guard_of(environment="staging", principal=Principal(user_id="u1", role="sre"))
    run(guard, session_id="s1", call_index=7, parent_call_id="p1", metadata={"parent_session_id": "s0"})
    version = guard.policy_version
    assert version is not None
    for event in events_of(guard):
        assert event.policy_version == version
        assert (event.session_id, event.run_id, event.parent_session_id) == ("s1", "s1", "s0")
        assert (event.environment, event.call_index, event.parent_call_id) == ("staging", 7, "p1")
        assert event.principal is not None
        assert event.principal["role"] == "sre"
    first, second = events_of(guard)
    assert first.call_id == second.call_id
    assert (first.session_attempt_count, second.session_execution_count) == (1, 1)


def test_events_arguments_and_reasons_are_redacted() -> None:
    secret = "sk-" + "proj-" + "a1B2" * 10
    guard = guard_of(pre(message="no {args.note}"))
    with pytest.raises(EdictumDenied) as raised:
        run(guard, args={"password": "swordfish", "note": secret})
    text = events_of(guard)[0].to_json()
    assert "swordfish" not in text
    assert secret not in text + raised.value.reason


def test_events_reasons_that_come_again_are_redacted_each_time() -> None:
    secret = "ghp_" + "a1B2" * 9
    reasons = [f"refused because of {number}" for number in range(300)] + [f"refused, see {secret}"] * 2

    @precondition("*")
    def refuse(call: ToolCall) -> Decision:
        return Decision.fail(call.args["why"])

    guard = guard_of(rules=[refuse], limits=OperationLimits(max_attempts=1_000))
    for reason in (*reasons, *reasons):
        with pytest.raises(EdictumDenied):
            run(guard, Tool("text"), {"why": reason})
    logged = [event.reason for event in events_of(guard)]
    assert logged == [reason.replace(secret, "[REDACTED]") for reason in (*reasons, *reasons)]


@pytest.mark.fault
@pytest.mark.parametrize("rules", [[], [pre()]], ids=["allow", "block"])
def test_callbacks_that_raise_change_nothing(rules: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    def raising(*facts: Any) -> None:
        raise LookupError("callback")

    guard = guard_of(*rules, on_block=raising, on_allow=raising)
    with caplog.at_level(logging.ERROR):
        if rules:
            with pytest.raises(EdictumDenied, match="no-read says no"):
                run(guard)
            assert actions(guard) == ["call_denied"]
        else:
            assert run(guard) == "done"
            assert actions(guard) == ["call_allowed", "call_executed"]
    assert [record.exc_info is not None for record in caplog.records] == [True]


class FailingSink:
    async def emit(self, event: AuditEvent) -> None:
        raise OSError("disk full")


@pytest.mark.fault
def test_sink_that_fails_leaves_an_allowed_call_allowed() -> None:
    guard = guard_of(audit_sink=FailingSink())
    assert run(guard) == "done"
    assert actions(guard) == ["call_allowed", "call_executed"]


@pytest.mark.fault
@pytest.mark.parametrize("audit_failure", ["log", "block"])
def test_sink_that_fails_leaves_a_block_a_block(audit_failure: str) -> None:
    guard = guard_of(pre(), audit_sink=FailingSink(), audit_failure=audit_failure)
    with pytest.raises(EdictumDenied) as raised:
        run(guard)
    assert raised.value.decision_name == "no-read"


@pytest.mark.fault
@pytest.mark.parametrize("rules", [[], [ask()]], ids=["allowed", "approved"])
def test_sink_that_fails_blocks_an_allowed_call_where_the_guard_insists(rules: list[Any]) -> None:
    told = Callbacks()
    tool = Tool()
    guard = guard_of(
        *rules, audit_sink=FailingSink(), audit_failure="block", approval_backend=AutoApprovalBackend(), **told.options
    )
    with pytest.raises(EdictumDenied) as raised:
        run(guard, tool)
    assert raised.value.decision_source == "audit_unavailable"
    assert tool.calls == []
    assert told.counts == (1, 0, 0)


@pytest.mark.fault
def test_redaction_that_fails_withholds_and_still_logs() -> None:
    class Broken(RedactionPolicy):
        def redact_event_args(self, args: Any) -> dict[str, Any]:
            raise ValueError("redaction")

    guard = guard_of(redaction=Broken())
    run(guard, args={"path": "visible"})
    assert actions(guard) == ["call_allowed", "call_executed"]
    assert "visible" not in events_of(guard)[0].to_json()

"""
Workflow gates in governed calls: what blocks, who is asked, what the decision log shows.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from edictum import (
    AuditEvent,
    CheckPipeline,
    Edictum,
    EdictumConfigError,
    EdictumDenied,
    EdictumToolError,
    MemoryBackend,
    OperationLimits,
    Session,
    create_envelope,
)
from edictum.testing import ScriptedApprovalBackend
from edictum.testing.conformance_workflow import judge_workflow
from guards import Callbacks, Tool, ask, denied, granted, guard_of, pre, ruleset, run, unanswered
from workflows import DEVELOPMENT, EDIT, READ_TASK, REVIEW, TEST, document, runtime


def actions(events: list[AuditEvent]) -> list[str]:
    return [str(event.action) for event in events]


def guarded(*rules: dict[str, Any], stages: tuple[dict[str, Any], ...] = DEVELOPMENT, **options: Any) -> Edictum:
    return guard_of(*rules, workflow_runtime=runtime(*stages), **options)


def blocked(guard: Edictum, name: str, args: dict[str, Any] | None = None) -> EdictumDenied:
    tool = Tool()
    with pytest.raises(EdictumDenied) as caught:
        run(guard, tool, args, name=name)
    assert tool.calls == []
    return caught.value


def active_stage(guard: Edictum) -> str:
    return asyncio.run(guard.session(guard._session_id).workflow_state()).active_stage


def test_call_out_of_order_is_blocked_with_the_snapshot_in_the_log() -> None:
    callbacks = Callbacks()
    guard = guarded(**callbacks.options)

    denial = blocked(guard, "Edit", {"path": "a.py"})

    assert (denial.reason, denial.decision_source, denial.decision_name) == ("Read TASK.md first.", "workflow", "read")
    (event,) = guard.local_sink.events
    assert str(event.action) == "call_denied"
    assert event.workflow is not None
    assert event.workflow["active_stage"] == "read"
    assert event.workflow["blocked_reason"] == "Read TASK.md first."
    gate = event.contracts_evaluated[-1]
    assert (gate["name"], gate["type"], gate["passed"]) == ("work:read:exit", "workflow_gate", False)
    assert gate["metadata"]["gate_condition"] == 'file_read("TASK.md")'
    assert callbacks.counts == (1, 0, 0)


def test_work_in_order_is_let_through_and_logged() -> None:
    guard = guarded()

    run(guard, args={"path": "TASK.md"}, name="Read")
    mark = guard.local_sink.mark()
    run(guard, args={"path": "a.py"}, name="Edit")

    events = guard.local_sink.since_mark(mark)
    assert actions(events) == ["workflow_stage_advanced", "call_allowed", "call_executed"]
    assert [event.workflow and event.workflow["active_stage"] for event in events] == ["edit"] * 3
    assert events[0].workflow is not None
    assert (events[0].workflow["stage_id"], events[0].workflow["to_stage_id"]) == ("read", "edit")


def test_tool_that_fails_leaves_no_evidence() -> None:
    guard = guarded()

    with pytest.raises(EdictumToolError):
        run(guard, Tool("error: gone"), {"path": "TASK.md"}, name="Read")

    assert blocked(guard, "Edit").decision_source == "workflow"


def test_approval_at_a_boundary_is_asked_for_and_recorded() -> None:
    approvals = ScriptedApprovalBackend([granted()] * 9)
    guard = guarded(stages=(REVIEW, EDIT), approval_backend=approvals)

    run(guard, name="Edit")

    assert [request.message for request in approvals.requests] == ["Look at the diff."]
    assert approvals.requests[0].metadata["approval_requested_for"] == "review"
    events = guard.local_sink.events
    assert actions(events) == [
        "call_approval_requested",
        "call_approval_granted",
        "workflow_stage_advanced",
        "call_allowed",
        "call_executed",
    ]
    assert events[1].workflow is not None
    assert events[1].workflow["pending_approval"]["required"] is True
    state = asyncio.run(guard.session(guard._session_id).workflow_state())
    assert state.approvals == {"review": "approved"}
    assert state.approved_by["review"]["approver"] == "ann"
    assert state.approved_by["review"]["approval_id"] == "approval-1"


@pytest.mark.parametrize("answer", [denied(), unanswered(), OSError("down")])
def test_approval_that_is_not_given_blocks_and_moves_nothing(answer: Any) -> None:
    guard = guarded(stages=(REVIEW, EDIT), approval_backend=ScriptedApprovalBackend([answer] * 9))

    blocked(guard, "Edit")

    assert active_stage(guard) == "review"


def test_approval_without_a_backend_blocks() -> None:
    denial = blocked(guarded(stages=(REVIEW, EDIT)), "Edit")

    assert "approval" in denial.reason
    assert "Look at the diff." in denial.reason


def test_rule_that_asks_is_asked_only_when_the_workflow_does_not_block() -> None:
    approvals = ScriptedApprovalBackend([granted()] * 9)
    guard = guarded(ask(), approval_backend=approvals)

    assert blocked(guard, "Edit").decision_source == "workflow"
    assert approvals.requests == []
    run(guard, args={"path": "TASK.md"}, name="Read")
    assert len(approvals.requests) == 1


def test_rule_and_boundary_that_both_ask_are_two_requests() -> None:
    approvals = ScriptedApprovalBackend([granted()] * 9)
    guard = guarded(ask(), stages=(REVIEW, EDIT), approval_backend=approvals)

    run(guard, name="Edit")

    assert [request.message for request in approvals.requests] == ["may it run?", "Look at the diff."]


def test_rule_that_blocks_leaves_the_workflow_alone() -> None:
    guard = guarded(pre(tool="Edit"))
    run(guard, args={"path": "TASK.md"}, name="Read")

    assert blocked(guard, "Edit").decision_source == "yaml_precondition"
    assert active_stage(guard) == "read"


def test_limit_that_is_reached_leaves_the_workflow_alone() -> None:
    guard = guarded(limits=OperationLimits(max_tool_calls=1))
    run(guard, args={"path": "TASK.md"}, name="Read")

    assert blocked(guard, "Edit").decision_source == "operation_limit"
    assert active_stage(guard) == "read"


def test_state_moved_by_an_operator_during_the_wait_is_seen() -> None:
    async def restart() -> None:
        await guard.session(guard._session_id).set_stage("read")

    approvals = ScriptedApprovalBackend([granted()] * 9, meanwhile=restart)
    guard = guarded(stages=(READ_TASK, REVIEW, EDIT), approval_backend=approvals)
    asyncio.run(guard.session(guard._session_id).set_stage("review"))

    assert blocked(guard, "Edit").reason == "Read TASK.md first."


@pytest.mark.fault
def test_workflow_that_cannot_be_asked_blocks() -> None:
    guard = guarded()
    asyncio.run(Session(guard._session_id, guard.backend).set_value("workflow:work:state", "broken"))

    denial = blocked(guard, "Read", {"path": "TASK.md"})

    assert (denial.decision_source, denial.decision_name) == ("workflow", "workflow_error")
    (event,) = guard.local_sink.events
    assert event.policy_error
    assert "StateError" in (event.metadata or {})["error_detail"]


@pytest.mark.fault
def test_storage_that_fails_after_the_tool_ran_keeps_the_result() -> None:
    class Failing(MemoryBackend):
        broken = False

        async def compare_and_set(self, key: str, expected: str | None, value: str) -> bool:
            if self.broken:
                raise OSError("disk full")
            return await super().compare_and_set(key, expected, value)

    backend = Failing()
    guard = guarded(backend=backend)

    def read(path: str) -> str:
        backend.broken = True
        return "text"

    assert run(guard, read, {"path": "TASK.md"}, name="Read") == "text"
    backend.broken = False
    assert blocked(guard, "Edit").decision_source == "workflow"


def test_observe_mode_records_what_the_workflow_would_block() -> None:
    callbacks = Callbacks()
    guard = guarded(mode="observe", **callbacks.options)
    tool = Tool()

    run(guard, tool, {"path": "a.py"}, name="Edit")

    assert len(tool.calls) == 1
    assert actions(guard.local_sink.events) == ["call_would_deny", "call_executed"]
    assert callbacks.counts == (0, 0, 1)


def test_observe_mode_asks_nobody() -> None:
    approvals = ScriptedApprovalBackend([granted()] * 9)
    guard = guarded(stages=(REVIEW, EDIT), mode="observe", approval_backend=approvals)

    run(guard, name="Edit")

    assert approvals.requests == []
    assert guard.local_sink.events[0].observed_action == "ask"


def test_synchronous_callers_pass_the_same_gates() -> None:
    guard = guarded()

    with pytest.raises(EdictumDenied):
        guard.run_sync("Edit", {"path": "a"}, Tool())
    guard.run_sync("Read", {"path": "TASK.md"}, Tool())
    guard.run_sync("Edit", {"path": "a"}, Tool())

    assert active_stage(guard) == "edit"


def test_result_of_an_mcp_tool_is_recorded_and_completes_the_workflow() -> None:
    gate = {"condition": 'mcp_result_matches("mcp__ci__status", "state", "green")', "message": "Wait for CI."}
    guard = guarded(stages=({"id": "ci", "tools": ["mcp__ci__status"], "exit": [gate]},))

    run(guard, Tool('{"state": "red"}'), name="mcp__ci__status")
    assert active_stage(guard) == "ci"
    mark = guard.local_sink.mark()
    run(guard, Tool({"state": "green"}), name="mcp__ci__status")

    assert active_stage(guard) == ""
    assert actions(guard.local_sink.since_mark(mark)) == ["call_allowed", "call_executed", "workflow_completed"]


def test_sessions_go_through_the_stages_by_themselves() -> None:
    guard = guarded()

    asyncio.run(guard.run("Read", {"path": "TASK.md"}, Tool(), session_id="a"))
    asyncio.run(guard.run("Edit", {"path": "x"}, Tool(), session_id="a"))

    with pytest.raises(EdictumDenied):
        asyncio.run(guard.run("Edit", {"path": "x"}, Tool(), session_id="b"))


def test_operator_moves_are_logged() -> None:
    guard = guarded()
    handle = guard.session("s")

    asyncio.run(handle.set_stage("review"))
    asyncio.run(handle.reset("read"))

    events = guard.local_sink.events
    assert actions(events) == ["workflow_state_updated"] * 2
    assert [event.session_id for event in events] == ["s", "s"]
    assert [(event.workflow or {})["active_stage"] for event in events] == ["review", "read"]
    with pytest.raises(RuntimeError, match="no workflow"):
        asyncio.run(guard_of().session("s").reset("read"))


@pytest.mark.security
def test_secrets_in_commands_do_not_reach_the_log() -> None:
    token = "ghp_" + "a1B2" * 9
    stage = {**TEST, "checks": [{"command_not_matches": "evil", "message": "No."}]}
    guard = guarded(stages=(stage, EDIT))

    run(guard, args={"command": f"TOKEN={token} pytest"}, name="Bash")
    blocked(guard, "Bash", {"command": f"evil --token {token}"})
    blocked(guard, "Write")

    assert token not in "".join(event.to_json() for event in guard.local_sink.events)


def test_pipeline_gives_the_workflow_with_its_decision() -> None:
    guard = guarded()
    calling = create_envelope("Edit", {"path": "a"})

    decision = asyncio.run(CheckPipeline(guard).pre_execute(calling, Session("s", guard.backend)))

    assert (decision.action, decision.decision_source, decision.decision_name) == ("block", "workflow", "read")
    assert decision.workflow_involved
    assert decision.workflow_stage_id == "read"
    assert decision.workflow is not None
    asyncio.run(Session("s", guard.backend).set_value("workflow:work:state", "broken"))
    broken = asyncio.run(CheckPipeline(guard).pre_execute(calling, Session("s", guard.backend)))
    assert (broken.action, broken.policy_error) == ("block", True)


# --- factories -----------------------------------------------------------------------------------


def test_factories_take_a_workflow_as_file_or_text(tmp_path: Path) -> None:
    text = json.dumps(document(*DEVELOPMENT))
    (tmp_path / "rules.json").write_text(json.dumps(ruleset()))
    (tmp_path / "work.json").write_text(text)

    guards = [
        Edictum.from_yaml(tmp_path / "rules.json", workflow_path=tmp_path / "work.json"),
        Edictum.from_yaml_string(json.dumps(ruleset()), workflow_content=text),
        Edictum.from_bundle_dict(ruleset(), workflow_content=text),
    ]
    guards.append(Edictum.from_multiple(guards))

    for guard in guards:
        assert blocked(guard, "Edit").decision_source == "workflow"
        assert guard.describe()["workflow"]["stages"] == ["read", "edit", "test", "review", "push"]
    assert guard_of().describe()["workflow"] is None


def test_factories_refuse_two_workflows_and_programs_without_leave() -> None:
    text = json.dumps(document({"id": "run", "exit": [{"condition": 'exec("true")'}]}))

    with pytest.raises(EdictumConfigError, match="give one of"):
        Edictum.from_bundle_dict(ruleset(), workflow_content=text, workflow_path="x.yaml")
    with pytest.raises(EdictumConfigError, match="exec_evaluator_enabled"):
        Edictum.from_bundle_dict(ruleset(), workflow_content=text)
    guard = Edictum.from_bundle_dict(ruleset(), workflow_content=text, workflow_exec_evaluator_enabled=True)
    run(guard, name="anything")


def test_reload_keeps_the_workflow() -> None:
    guard = guarded()

    asyncio.run(guard.reload(ruleset()))

    assert blocked(guard, "Edit").decision_source == "workflow"


# --- the runner of the shared fixtures ------------------------------------------------------------


def test_runner_of_workflow_fixtures_notices_each_difference() -> None:
    step: dict[str, Any] = {
        "id": "edit",
        "call": {"tool": "Edit", "args": {"path": "x"}},
        "execution": "not_run",
        "expect": {"decision": "deny", "active_stage": "read", "message_contains": "TASK.md"},
    }
    case = {
        "id": "x",
        "workflow": document(*DEVELOPMENT),
        "initial_state": {"session_id": "s", "active_stage": "read", "evidence": {"reads": [], "stage_calls": {}}},
        "steps": [step],
    }
    asyncio.run(judge_workflow("workflow", case))
    asyncio.run(judge_workflow("workflow-adapter", case))

    wrong: list[dict[str, Any]] = [
        {"decision": "allow"},
        {"decision": "pause"},
        {"active_stage": "edit"},
        {"completed_stages": ["read"]},
        {"message_contains": "other"},
        {"approvals": {"read": "approved"}},
        {"evidence": {"reads": ["x"]}},
        {"pending_approval": {"required": True}},
        {"blocked_reason": "other"},
        {"approval_requested_for": "read"},
    ]
    for family in ("workflow", "workflow-adapter"):
        for change in wrong:
            broken = {**case, "steps": [{**step, "expect": {**step["expect"], **change}}]}
            with pytest.raises(Exception, match="step edit: "):
                asyncio.run(judge_workflow(family, broken))
    for events in ([], [{"action": "call_allowed"}], [{"action": "call_blocked", "workflow": {"name": "other"}}]):
        broken = {**case, "steps": [{**step, "expect": {**step["expect"], "audit_events": events}}]}
        with pytest.raises(Exception, match=r"step edit: .*event"):
            asyncio.run(judge_workflow("workflow-adapter", broken))

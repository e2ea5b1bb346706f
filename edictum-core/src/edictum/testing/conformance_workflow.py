"""
Judge one case of the shared workflow fixtures.

A case gives a workflow, the state that a session has reached, and steps: a tool call with what became of its tool, or
an operator's move.  After each step the decision, the stored state and, in the family for adapters, the events of the
decision log are compared.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from edictum import (
    ApprovalDecision,
    ApprovalRequest,
    ApprovalStatus,
    AuditEvent,
    Edictum,
    EdictumDenied,
    EdictumToolError,
    Session,
    canonical_action,
    create_envelope,
)
from edictum.testing.conformance_format import (
    check_workflow_case,
    check_workflow_step,
    state_of_case,
    to_yaml,
)
from edictum.workflow import WorkflowRuntime, load_workflow_string

ADAPTERS = "workflow-adapter"
_DECISIONS = {"allow": "allow", "deny": "block", "block": "block", "pause": "pause"}
# In the words that all languages share, except for the one that has no other name than this one's.
_ASKED = {"call_approval_requested": "call_asked"}
_RULESET = {
    "apiVersion": "edictum/v1",
    "kind": "Ruleset",
    "metadata": {"name": "conformance"},
    "defaults": {"mode": "enforce"},
    "rules": [
        {
            "id": "nothing",
            "type": "pre",
            "tool": "no-such-tool",
            "when": {"args.x": {"exists": True}},
            "then": {"action": "block", "message": "never"},
        }
    ],
}


class DifferenceError(Exception):
    """
    A step went otherwise than the case says; ``str()`` tells how.
    """


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What a step did.

    Attributes:
        decision: ``allow``, ``block`` or ``pause``; None for an operator's move.
        message: Why the call was blocked, or what a person was asked.
        asked_for: The stage whose approval was asked for.
        events: What the decision log got, or None where the family does not look at it.
    """

    decision: str | None
    message: str = ""
    asked_for: str | None = None
    events: list[AuditEvent] | None = None


Run: TypeAlias = Callable[[Edictum, Mapping[str, Any], Mapping[str, Any], str | None], Awaitable[str | None]]
"""
Makes one call under a guard: takes the guard, the call, the step and the parent session; gives the reason of a block,
or None.  Adapters have one of their own.
"""


async def judge_workflow(family: str, case: Any, run: Run | None = None) -> None:
    """
    Play a case.

    Args:
        family: Name of the case's family.
        case: The case, its workflow in place of the name.
        run: Makes the calls of the family for adapters; None makes them with :meth:`Edictum.run`.

    Raises:
        DifferenceError: A step went otherwise than the case says.
        MalformedError: The case is not of the format.
    """
    check_workflow_case(case)
    runtime = WorkflowRuntime(load_workflow_string(to_yaml(case["workflow"])))
    player = _Guarded(runtime, case, run or run_governed) if family == ADAPTERS else _Bare(runtime, case)
    state = state_of_case(case["initial_state"])
    name = runtime.definition.metadata.name
    await player.session.set_value(f"workflow:{name}:state", json.dumps(state))
    for number, step in enumerate(case["steps"]):
        check_workflow_step(step)
        seen = await player.play(step)
        stored = (await runtime.state(player.session)).to_dict()
        difference = _difference(step["expect"], seen, stored)
        if difference is not None:
            raise DifferenceError(f"step {step.get('id', number)}: {difference}")


# --- the two ways to play a step -----------------------------------------------------------------


class _Bare:
    """
    The runtime by itself.
    """

    def __init__(self, runtime: WorkflowRuntime, case: Mapping[str, Any]) -> None:
        self._runtime = runtime
        self.session = Session(case["initial_state"]["session_id"], Edictum().backend)

    async def play(self, step: Mapping[str, Any]) -> Seen:
        runtime, session = self._runtime, self.session
        if "call" not in step:
            await _move(runtime.reset, runtime.set_stage, step, session)
            return Seen(None)
        call = create_envelope(step["call"]["tool"], step["call"].get("args", {}), run_id=session.session_id)
        outcomes = iter(step.get("approval_outcomes", ()))
        message, asked_for = "", None
        while True:
            said = await runtime.evaluate(session, call)
            message = said.reason or message
            if said.action != "pending_approval":
                break
            asked_for = said.records[-1]["metadata"].get("approval_requested_for")
            outcome = next(outcomes, None)
            if outcome is None:
                return Seen("pause", message, asked_for)
            if outcome != "approved":
                return Seen("block", message, asked_for)
            await runtime.record_approval(session, said.stage_id)
        if said.action == "allow" and step.get("execution") == "success":
            await runtime.record_result(session, said.stage_id, call, mcp_result=step.get("mcp_result"))
        return Seen(said.action, message, asked_for)


class _Guarded:
    """
    A guard whose only rule never applies, with the workflow.
    """

    def __init__(self, runtime: WorkflowRuntime, case: Mapping[str, Any], run: Run) -> None:
        self._approvals = ScriptedOutcomes()
        self._guard = Edictum.from_bundle_dict(
            _RULESET, audit_sink=(), approval_backend=self._approvals, workflow_runtime=runtime
        )
        self._run = run
        self._parent = case.get("lineage", {}).get("parent_session_id")
        self._handle = self._guard.session(case["initial_state"]["session_id"])
        self.session = Session(self._handle.session_id, self._guard.backend)

    async def play(self, step: Mapping[str, Any]) -> Seen:
        log = self._guard.local_sink
        mark = log.mark()
        if "call" not in step:
            await _move(self._handle.reset, self._handle.set_stage, step)
            return Seen(None, events=log.since_mark(mark))
        self._approvals.begin(step.get("approval_outcomes", ()))
        call = {**step["call"], "session_id": self._handle.session_id}
        reason = await self._run(self._guard, call, step, self._parent)
        events = log.since_mark(mark)
        asked = [event.metadata or {} for event in events if str(event.action) == "call_approval_requested"]
        asked_for = asked[-1].get("approval_requested_for") if asked else None
        if reason is None:
            return Seen("allow", "", asked_for, events)
        return Seen("pause" if self._approvals.unanswered else "block", reason, asked_for, events)


async def _move(reset: Callable[..., Awaitable[Any]], put: Callable[..., Awaitable[Any]], step: Any, *who: Any) -> None:
    if "reset_to" in step:
        await reset(*who, step["reset_to"])
    else:
        await put(*who, step["set_stage_to"])


async def run_governed(
    guard: Edictum, call: Mapping[str, Any], step: Mapping[str, Any], parent_session_id: str | None
) -> str | None:
    """
    Make a call with :meth:`Edictum.run`.
    """
    failed = step.get("execution") == "error"
    result: Any = f"Error: {call['tool']} failed" if failed else step.get("mcp_result", "done")
    metadata = None if parent_session_id is None else {"parent_session_id": parent_session_id}
    try:
        await guard.run(
            call["tool"], call.get("args", {}), lambda **args: result, session_id=call["session_id"], metadata=metadata
        )
    except EdictumDenied as denied:
        return denied.reason
    except EdictumToolError:
        return None
    return None


class ScriptedOutcomes:
    """
    An approval backend that answers as a case says, and not at all when the case says no more.

    Attributes:
        unanswered: Whether a request got no answer.
    """

    def __init__(self) -> None:
        self.begin(())

    def begin(self, outcomes: Any) -> None:
        """
        Take the answers of the next step.
        """
        self._outcomes = iter(outcomes)
        self.unanswered = False

    async def request_approval(
        self, tool_name: str, tool_args: dict[str, Any], message: str, **more: Any
    ) -> ApprovalRequest:
        """
        Take the question.
        """
        return ApprovalRequest("approval", tool_name, tool_args, message, more.get("timeout", 300))

    async def wait_for_decision(self, approval_id: str, timeout: int | None = None) -> ApprovalDecision:
        """
        Answer it.
        """
        outcome = next(self._outcomes, None)
        if outcome is None:
            self.unanswered = True
            return ApprovalDecision(approved=False, status=ApprovalStatus.TIMEOUT)
        approved = outcome == "approved"
        return ApprovalDecision(
            approved=approved, status=ApprovalStatus.APPROVED if approved else ApprovalStatus.DENIED
        )


# --- comparison ----------------------------------------------------------------------------------


def _difference(expected: Mapping[str, Any], seen: Seen, stored: Mapping[str, Any]) -> str | None:
    wanted = _DECISIONS.get(expected.get("decision", ""))
    if wanted != seen.decision:
        return f"expected {wanted}, got {seen.decision}: {seen.message}"
    if expected.get("message_contains", "") not in seen.message:
        return f"the message does not contain {expected['message_contains']!r}: {seen.message}"
    if "approval_requested_for" in expected and expected["approval_requested_for"] != seen.asked_for:
        return f"expected an approval for {expected['approval_requested_for']!r}, got one for {seen.asked_for!r}"
    for key in ("active_stage", "completed_stages", "approvals", "blocked_reason", "pending_approval"):
        if key in expected and (expected[key] or None) != (stored[key] or None):
            return f"expected {key} {expected[key]!r}, got {stored[key]!r}"
    evidence = state_of_case(expected).get("evidence", {})
    for key, value in evidence.items():
        if value != stored["evidence"].get(key, type(value)()):
            return f"expected evidence {key} {value!r}, got {stored['evidence'].get(key)!r}"
    if "audit_events" in expected and seen.events is not None:
        return _events_differ(expected["audit_events"], seen.events)
    return None


def _events_differ(expected: list[dict[str, Any]], events: list[AuditEvent]) -> str | None:
    actions = [_ASKED.get(str(event.action), canonical_action(event.action)) for event in events]
    wanted = [event["action"] for event in expected]
    if actions != wanted:
        return f"expected the events {wanted}, got {actions}"
    for number, (want, event) in enumerate(zip(expected, events, strict=True)):
        got = event.to_dict()
        for key in want.keys() - {"action"}:
            if not _holds(want[key], got.get(key)):
                return f"event {number} ({want['action']}): expected {key} {want[key]!r}, got {got.get(key)!r}"
    return None


def _holds(wanted: Any, got: Any) -> bool:
    """
    Whether every listed key is there and equal; maps may hold more.
    """
    if isinstance(wanted, dict):
        return isinstance(got, Mapping) and all(key in got and _holds(value, got[key]) for key, value in wanted.items())
    return bool(wanted == got)

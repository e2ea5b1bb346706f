"""
A workflow at work: loads the state of a session, lets the machine judge, and saves what changed.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Literal, TypeVar

from edictum.clock import Clock, SystemClock
from edictum.globs import glob_matcher
from edictum.locks import KeyedLocks
from edictum.redaction import RedactionPolicy
from edictum.session import Session
from edictum.tool_call import ToolCall
from edictum.workflow.conditions import Condition
from edictum.workflow.definition import WorkflowDefinition
from edictum.workflow.execution import ExecPolicy, run_program
from edictum.workflow.machine import Action, Machine, Move, Verdict
from edictum.workflow.state import (
    APPROVED,
    RefusedEvidenceError,
    StateError,
    WorkflowState,
    initial_state,
    state_from_json,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_CONFLICTS = 5
MAX_SUMMARY = 500
MAX_MCP_RESULT = 65_536
MCP_PREFIX = "mcp__"

STAGE_ADVANCED = "workflow_stage_advanced"
COMPLETED = "workflow_completed"
STATE_UPDATED = "workflow_state_updated"


class WorkflowConflictError(RuntimeError):
    """
    Others changed the state of the session again and again; the call is blocked and can be made again.
    """


@dataclass(frozen=True, slots=True)
class WorkflowEvaluation:
    """
    What a workflow says about a call.

    Attributes:
        action: ``allow``, ``block`` or ``pending_approval``.
        reason: Text for the agent, or for the person who is asked.
        stage_id: The stage that decided; empty when the workflow is completed.
        records: One record for each gate that was judged, for ``contracts_evaluated``.
        audit: Snapshot for decision-log events of the call.
        events: What happened on the way: ``{"action": ..., "workflow": ...}``, in order.
    """

    action: Action
    reason: str | None = None
    stage_id: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    audit: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)


class WorkflowRuntime:
    """
    Runs one workflow for any number of sessions.

    State is kept in the session's storage backend.  Steps of one session follow each other; with a backend that has
    ``compare_and_set`` also across processes.

    Args:
        definition: The workflow.
        exec_evaluator_enabled: Whether ``exec`` gates may run programs.
        exec_policy: Which programs, and what they see.
        workspace: Folder that relative paths of ``file_read`` start from; None means the working directory.
        on_definition_change: What becomes of a session that began under another definition.  ``map`` goes on in the
            stage of the same id, ``restart`` begins again, ``block`` blocks its calls until it is reset.
        after_completion: Whether calls are allowed or blocked when the last stage is behind the session.
        redaction: What counts as secret in summaries and evidence of the decision log.
        clock: Source of time.

    Raises:
        EdictumConfigError: The definition makes no sense.
        ValueError: It has an ``exec`` gate, but programs may not be run.
    """

    def __init__(
        self,
        definition: WorkflowDefinition,
        *,
        exec_evaluator_enabled: bool = False,
        exec_policy: ExecPolicy | None = None,
        workspace: str | os.PathLike[str] | None = None,
        on_definition_change: Literal["map", "restart", "block"] = "map",
        after_completion: Literal["allow", "block"] = "allow",
        redaction: RedactionPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        definition.validate()
        if on_definition_change not in ("map", "restart", "block"):
            raise ValueError(f"on_definition_change is 'map', 'restart' or 'block', not {on_definition_change!r}")
        if after_completion not in ("allow", "block"):
            raise ValueError(f"after_completion is 'allow' or 'block', not {after_completion!r}")
        self.definition = definition
        self._machine = Machine(definition, os.path.abspath(workspace or os.curdir), self._run_exec, after_completion)
        self._policy = exec_policy if exec_policy is not None else ExecPolicy()
        self._check_programs(exec_evaluator_enabled)
        self._on_definition_change = on_definition_change
        self._redaction = redaction if redaction is not None else RedactionPolicy()
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._locks = KeyedLocks()
        self._value = f"workflow:{definition.metadata.name}:state"

    def _check_programs(self, enabled: bool) -> None:
        for condition in self._machine.conditions:
            if condition.kind != "exec":
                continue
            if not enabled:
                raise ValueError(
                    f"workflow {self.definition.metadata.name!r} has an exec gate; allow that programs are run with "
                    "exec_evaluator_enabled=True"
                )
            if not self._policy.admits(condition):
                raise ValueError(f"exec may not run {condition.argv[0]!r}; it is not among the executables")

    # --- what a call does -----------------------------------------------------------------------

    async def state(self, session: Session) -> WorkflowState:
        """
        How far a session has come; a copy.

        Raises:
            ValueError: What is stored cannot be used.
        """
        return (await self._load(session))[0]

    async def evaluate(self, session: Session, call: ToolCall) -> WorkflowEvaluation:
        """
        Say what the workflow means for a call, and move the session forward where the call begins a later stage.

        Raises:
            ValueError: The stored state cannot be used.
            WorkflowConflictError: Others changed it again and again.
            ExecError: The program of a gate could not be run.
        """

        async def judge(state: WorkflowState) -> WorkflowEvaluation:
            verdict = await self._machine.judge(state.copy(), call)
            self._take(state, verdict, call)
            records = [self._shown_record(record) for record in verdict.records]
            events = [self._event(move, state if move is verdict.moves[-1] else move.state) for move in verdict.moves]
            return WorkflowEvaluation(
                verdict.action, verdict.reason, verdict.stage_id, records, self.snapshot(state), events
            )

        return await self._change(session, judge)

    async def record_approval(
        self, session: Session, stage_id: str, *, approver: str | None = None, approval_id: str | None = None
    ) -> None:
        """
        Note that a person agreed to leaving a stage.

        Raises:
            ValueError: There is no such stage, or the stored state cannot be used.
        """
        self.definition.stage_index(stage_id)

        async def approve(state: WorkflowState) -> None:
            state.approvals[stage_id] = APPROVED
            facts = {"approver": approver, "approval_id": approval_id, "at": self._now()}
            state.approved_by[stage_id] = {name: value for name, value in facts.items() if value is not None}
            state.pending_approval = {"required": False}

        await self._change(session, approve)

    async def record_result(
        self, session: Session, stage_id: str, call: ToolCall, *, mcp_result: object = None
    ) -> list[dict[str, Any]]:
        """
        Note what a call that succeeded has done; evidence that cannot be kept is left out with a warning.

        Args:
            session: The session.
            stage_id: The stage that allowed the call; empty notes nothing.
            call: The call.
            mcp_result: The result of an MCP tool; None when there is none.

        Returns:
            What happened: one event when the workflow is completed by this.

        Raises:
            ValueError: There is no such stage, or the stored state cannot be used.
        """
        if not stage_id:
            return []
        stage = self.definition.stage_by_id(stage_id)

        async def record(state: WorkflowState) -> list[dict[str, Any]]:
            before, evidence = deepcopy(state.evidence), state.evidence
            path = self._machine.read_by(stage, call)
            try:
                added = bool(path) and evidence.add_read(path or "")
                if call.bash_command:
                    added = evidence.add_call(stage_id, call.bash_command)
                if mcp_result is not None:
                    added = evidence.add_mcp_result(call.tool_name, mcp_result)
            except RefusedEvidenceError as error:
                logger.warning("workflow %s: a call is not recorded: %s", self.definition.metadata.name, error)
                state.evidence = before
                return []
            if added:
                state.last_recorded_evidence = {**self._summary(call), "timestamp": self._now()}
            move = await self._machine.finish(state, stage_id)
            return [] if move is None else [self._event(move, state)]

        return await self._change(session, record)

    # --- operators ------------------------------------------------------------------------------

    async def reset(self, session: Session, stage_id: str) -> list[dict[str, Any]]:
        """
        Put a session back to a stage: approvals and commands of it and of later stages are forgotten.

        Returns:
            One event.

        Raises:
            ValueError: There is no such stage.
        """
        place = self.definition.stage_index(stage_id)
        later = self.definition.stages[place:]

        async def put_back(state: WorkflowState) -> list[dict[str, Any]]:
            for stage in later:
                for kept in (state.approvals, state.approved_by, state.evidence.stage_calls):
                    kept.pop(stage.id, None)
                state.evidence.dropped.pop(f"calls:{stage.id}", None)
            if place == 0:
                state.evidence.reads.clear()
                state.evidence.dropped.clear()
            globs = [glob_matcher(tool) for stage in later for tool in stage.tools]
            for tool in list(state.evidence.mcp_results):
                if place == 0 or any(matches(tool) for matches in globs):
                    del state.evidence.mcp_results[tool]
                    state.evidence.dropped.pop(f"mcp:{tool}", None)
            return self._put(state, place)

        return await self._change(session, put_back, unusable="replace")

    async def set_stage(self, session: Session, stage_id: str) -> list[dict[str, Any]]:
        """
        Put a session into a stage; approvals and evidence stay.

        Returns:
            One event.

        Raises:
            ValueError: There is no such stage, or the stored state cannot be used.
        """
        place = self.definition.stage_index(stage_id)

        async def put(state: WorkflowState) -> list[dict[str, Any]]:
            events = self._put(state, place)
            stage = self.definition.stages[place]
            if stage.approval is not None and state.approvals.get(stage_id) != APPROVED:
                self._await_approval(state, stage_id, stage.approval.message)
                events[0]["workflow"] = self.snapshot(state)
            return events

        return await self._change(session, put)

    def _put(self, state: WorkflowState, place: int) -> list[dict[str, Any]]:
        state.active_stage = self.definition.stages[place].id
        state.completed_stages = [stage.id for stage in self.definition.stages[:place]]
        state.clear_status()
        return [{"action": STATE_UPDATED, "workflow": self.snapshot(state)}]

    # --- what the decision log shows ------------------------------------------------------------

    def snapshot(self, state: WorkflowState) -> dict[str, Any]:
        """
        The state as it is shown on decision-log events.
        """
        metadata = self.definition.metadata
        shown: dict[str, Any] = {"name": metadata.name}
        if metadata.version:
            shown["version"] = metadata.version
        shown |= {
            "active_stage": state.active_stage,
            "completed_stages": list(state.completed_stages),
            "blocked_reason": state.blocked_reason,
            "pending_approval": dict(state.pending_approval),
        }
        for name in ("last_blocked_action", "last_recorded_evidence"):
            value = getattr(state, name)
            if value:
                shown[name] = dict(value)
        return shown

    def _event(self, move: Move, state: WorkflowState) -> dict[str, Any]:
        workflow = {
            **self.snapshot(state),
            "workflow_name": self.definition.metadata.name,
            "stage_id": move.stage_id,
            "to_stage_id": move.to_stage_id or None,
        }
        return {"action": STAGE_ADVANCED if move.to_stage_id else COMPLETED, "workflow": workflow}

    def _shown_record(self, record: dict[str, Any]) -> dict[str, Any]:
        evidence = record["metadata"]["gate_evidence"]
        if evidence:
            record["metadata"]["gate_evidence"] = self._redaction.redact_text(evidence, MAX_SUMMARY)
        return record

    def _summary(self, call: ToolCall) -> dict[str, str]:
        said = call.bash_command or call.file_path or call.tool_name
        if call.bash_command:
            said = self._redaction.redact_bash_command(said)
        return {"tool": call.tool_name, "summary": self._redaction.redact_text(said, MAX_SUMMARY)}

    def _now(self) -> str:
        return self._clock.now().astimezone(UTC).isoformat().replace("+00:00", "Z")

    # --- state ----------------------------------------------------------------------------------

    def _take(self, state: WorkflowState, verdict: Verdict, call: ToolCall) -> None:
        """
        Make the state that of the verdict, with the status of this call.
        """
        judged = verdict.state
        state.active_stage, state.completed_stages = judged.active_stage, judged.completed_stages
        reason = verdict.reason or ""
        if verdict.action == "block":
            state.pending_approval = {"required": False}
            state.blocked_reason = reason
            state.last_blocked_action = {**self._summary(call), "message": reason, "timestamp": self._now()}
        elif verdict.action == "pending_approval":
            self._await_approval(state, verdict.stage_id, reason)
        else:
            state.clear_status()

    def _await_approval(self, state: WorkflowState, stage_id: str, message: str) -> None:
        state.clear_status()
        state.pending_approval = {"required": True, "stage_id": stage_id, "message": message}

    async def _change(
        self,
        session: Session,
        change: Callable[[WorkflowState], Awaitable[T]],
        unusable: Literal["raise", "replace"] = "raise",
    ) -> T:
        """
        Load, change and save the state; once more when another process was faster.
        """
        async with self._locks.hold(session.session_id):
            for _ in range(MAX_CONFLICTS):
                state, stored = await self._load(session, unusable)
                result = await change(state)
                text = state.to_json()
                if text == stored or await session.swap_value(self._value, stored, text):
                    return result
        raise WorkflowConflictError(f"the workflow state of session {session.session_id!r} changes too fast")

    async def _load(
        self, session: Session, unusable: Literal["raise", "replace"] = "raise"
    ) -> tuple[WorkflowState, str | None]:
        stored = await session.get_value(self._value)
        fresh = initial_state(self.definition, session.session_id)
        if stored is None:
            return fresh, None
        try:
            state = state_from_json(stored, session.session_id)
            self._fit(state)
        except StateError:
            if unusable == "raise":
                raise
            return fresh, stored
        if state.definition and state.definition != self.definition.digest:
            if self._on_definition_change == "restart":
                return fresh, stored
            state.definition = self.definition.digest
        return state, stored

    def _fit(self, state: WorkflowState) -> None:
        changed = bool(state.definition) and state.definition != self.definition.digest
        if changed and self._on_definition_change == "block":
            raise StateError(
                f"workflow {self.definition.metadata.name!r} has changed since session {state.session_id!r} began; "
                "reset the session"
            )
        if changed and self._on_definition_change == "restart":
            return
        if state.active_stage and state.active_stage not in self.definition.index:
            raise StateError(
                f"session {state.session_id!r} is in stage {state.active_stage!r}, which workflow "
                f"{self.definition.metadata.name!r} does not have; reset the session"
            )

    async def _run_exec(self, condition: Condition) -> tuple[bool, str]:
        import asyncio

        code, output = await asyncio.to_thread(run_program, condition, self._policy)
        return code == condition.exit_code, f"exit_code={code} output={output}"


def mcp_result_of(call: ToolCall, result: object) -> Mapping[str, Any] | None:
    """
    What a workflow records of an MCP tool's result: a map, or the JSON text of one, up to 64 KB; else None.
    """
    if not call.tool_name.startswith(MCP_PREFIX):
        return None
    if isinstance(result, Mapping):
        return result
    if isinstance(result, str) and len(result) <= MAX_MCP_RESULT:
        try:
            parsed = json.loads(result)
        except (ValueError, RecursionError):
            return None
        return parsed if isinstance(parsed, dict) else None
    return None

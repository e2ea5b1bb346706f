"""
Moving a session through the stages of a workflow: what a call means in a state.

One call walks forward from the active stage until a stage takes it, blocks it or needs an approval.  Leaving a stage is
*firm* where the stage has a gate of its own or the workflow ends behind it.  Otherwise it is *tentative*: the stage is
left only if what follows does not block the call, and if it does, the call is blocked where the walk was first
tentative, in the words of that stage.  Each step goes one stage further, so there are at most as many steps as stages.

The machine changes only the copy of the state that it was given.  Running the program of an ``exec`` gate is left to
the caller.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from shlex import join as shell_join
from typing import Any, Literal, TypeAlias

from edictum.globs import glob_matcher, is_glob
from edictum.ruleset.patterns import Pattern, admit
from edictum.tool_call import FILE_PATH_KEYS, FILE_TOOLS, ToolCall
from edictum.workflow.commands import CommandLine, read_line
from edictum.workflow.conditions import Condition, parse_condition
from edictum.workflow.definition import WorkflowCheck, WorkflowDefinition, WorkflowGate, WorkflowStage
from edictum.workflow.state import APPROVED, WorkflowState

Action: TypeAlias = Literal["allow", "block", "pending_approval"]
RunExec: TypeAlias = Callable[[Condition], Awaitable[tuple[bool, str]]]

NOT_ALLOWED = "Tool is not allowed in this workflow stage"
_READ = "Read"
_NO_COMMAND = CommandLine("", ("",))
_COMMAND_KEYS = ("command", "cmd", "script")


@dataclass(slots=True)
class Move:
    """
    A stage that was left.

    Attributes:
        stage_id: The stage.
        to_stage_id: The one that followed; empty when the workflow is completed.
        state: The state directly afterwards.
    """

    stage_id: str
    to_stage_id: str
    state: WorkflowState


@dataclass(slots=True)
class Verdict:
    """
    What a call means.

    Attributes:
        action: ``allow``, ``block`` or ``pending_approval``.
        state: The state to keep, without the status of this call.
        reason: Text for the agent, or for the person who is asked.
        stage_id: The stage that decided; empty when the workflow is completed.
        records: One record for each gate that was judged.
        moves: Stages that were left.
    """

    action: Action
    state: WorkflowState
    reason: str | None = None
    stage_id: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Misfit:
    """
    Why a stage does not take a call.

    Attributes:
        reason: Text for the agent; None where the stage takes no calls at all.
        check: The check that failed, if one did.
    """

    reason: str | None
    check: WorkflowCheck | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    """
    Why a stage is not left.
    """

    action: Action
    reason: str


class Machine:
    """
    A definition, compiled.

    Args:
        definition: The workflow; must be valid.
        workspace: Folder that relative paths of ``file_read`` start from.
        run_exec: Runs the program of an ``exec`` gate: whether the gate is open, and evidence of it.
        after_completion: What becomes of calls when the workflow is completed.
    """

    def __init__(
        self,
        definition: WorkflowDefinition,
        workspace: str,
        run_exec: RunExec,
        after_completion: Literal["allow", "block"] = "allow",
    ) -> None:
        self.definition = definition
        self._workspace = workspace
        self._run_exec = run_exec
        self._after_completion = after_completion
        self._conditions: dict[str, Condition] = {}
        self._patterns: dict[str, Pattern] = {}
        for stage in definition.stages:
            for gate in (*stage.entry, *stage.exit):
                self._conditions[gate.condition] = parse_condition(gate.condition)
            for check in stage.checks:
                pattern = _pattern_of(check)
                self._patterns[pattern] = admit(pattern)

    @property
    def conditions(self) -> Sequence[Condition]:
        """
        The conditions of all gates.
        """
        return tuple(self._conditions.values())

    # --- the walk -------------------------------------------------------------------------------

    async def judge(self, state: WorkflowState, call: ToolCall) -> Verdict:
        """
        Walk forward until the call is decided.

        Args:
            state: Where the session stands; changed by the walk.
            call: The call.
        """
        records: list[dict[str, Any]] = []
        moves: list[Move] = []
        retreat: Verdict | None = None
        while True:
            if not state.active_stage:
                return self._completed(state, records, moves)
            stage = self.definition.stage_by_id(state.active_stage)
            outcome = await self._step(stage, state, call, records)
            if isinstance(outcome, Verdict):
                if outcome.action == "block" and retreat is not None:
                    retreat.records = records
                    return retreat
                outcome.records, outcome.moves = records, moves
                return outcome
            if outcome is not None and retreat is None:
                kept = state.copy()
                retreat = Verdict("block", kept, outcome.reason or NOT_ALLOWED, stage.id, moves=list(moves))
            moves.append(self._advance(stage, state))

    async def _step(
        self, stage: WorkflowStage, state: WorkflowState, call: ToolCall, records: list[dict[str, Any]]
    ) -> Verdict | _Misfit | None:
        """
        Judge the call in one stage.

        Returns:
            The verdict; or, where the stage is to be left, None if firmly and why the stage does not take the call
            if tentatively.
        """
        if stage.terminal and await self._exits(stage, state, records) is None:
            reason = "The workflow is at its end (workflow complete). Report to the user."
            records.append(self._record(stage, "terminal", "", False, reason))
            return Verdict("block", state, reason, stage.id)
        misfit = self._misfit(stage, call)
        kind = "checks" if misfit is not None and misfit.check is not None else "tools"
        if misfit is None or misfit.reason is not None:
            passed = misfit is None
            records.append(self._record(stage, kind, "", passed, None if passed else misfit.reason))  # type: ignore[union-attr]
        if misfit is None:
            return Verdict("allow", state, None, stage.id)
        following = self._following(stage)
        gated = bool(stage.exit) or stage.approval is not None
        if misfit.reason is not None and (following is None or not self._may_leave(stage, following, misfit, call)):
            exit_gate = await self._exits(stage, state, records) if misfit.check is not None else None
            also = None if exit_gate is None else exit_gate.reason
            return Verdict("block", state, _both(misfit.reason, also), stage.id)
        held = await self._completion(stage, following, state, records)
        if held is not None:
            also = misfit.reason if misfit.check is not None and held.action == "block" else None
            return Verdict(held.action, state, _both(held.reason, also), stage.id)
        if gated or following is None or following.terminal:
            return None
        if any(is_glob(tool) for tool in stage.tools):
            return Verdict("block", state, misfit.reason, stage.id)
        return misfit

    def _may_leave(self, stage: WorkflowStage, following: WorkflowStage, misfit: _Misfit, call: ToolCall) -> bool:
        """
        Whether a call that the stage does not take may be one for a later stage.
        """
        check = misfit.check
        if check is None:
            return True
        if stage.advance_on_check_failure == "never":
            return False
        if stage.exit or stage.approval is not None:
            return check.command_matches is not None
        claimed = any(other.command_matches is not None for other in following.checks)
        return claimed and self._misfit(following, call) is None

    async def _completion(
        self,
        stage: WorkflowStage,
        following: WorkflowStage | None,
        state: WorkflowState,
        records: list[dict[str, Any]],
    ) -> _Held | None:
        """
        Why a stage cannot be left yet; None when it can.
        """
        held = await self._exits(stage, state, records)
        if held is not None:
            return held
        if stage.approval is not None:
            approved = state.approvals.get(stage.id) == APPROVED
            record = self._record(stage, "approval", "", approved, None if approved else stage.approval.message)
            records.append(record)
            if not approved:
                record["metadata"]["approval_requested_for"] = stage.id
                return _Held("pending_approval", stage.approval.message)
        if following is not None and following.entry:
            ahead = state.copy()
            self._advance(stage, ahead)
            return await self._gates(following, "entry", following.entry, ahead, records)
        return None

    async def _exits(self, stage: WorkflowStage, state: WorkflowState, records: list[dict[str, Any]]) -> _Held | None:
        return await self._gates(stage, "exit", stage.exit, state, records)

    async def finish(self, state: WorkflowState, stage_id: str) -> Move | None:
        """
        Complete the workflow if the last stage has nothing more to wait for; asked after something was recorded.

        Args:
            state: Changed when it does.
            stage_id: The stage that something was recorded for.
        """
        stage = self.definition.stages[-1]
        if state.active_stage != stage_id or stage.id != stage_id or stage.terminal:
            return None
        if not stage.exit and stage.approval is None:
            return None
        if await self._completion(stage, None, state, []) is not None:
            return None
        return self._advance(stage, state)

    def _completed(self, state: WorkflowState, records: list[dict[str, Any]], moves: list[Move]) -> Verdict:
        if self._after_completion == "allow":
            return Verdict("allow", state, records=records, moves=moves)
        reason = "The workflow is completed, and no further call belongs to it. Report to the user."
        return Verdict("block", state, reason, records=records, moves=moves)

    def _advance(self, stage: WorkflowStage, state: WorkflowState) -> Move:
        following = self._following(stage)
        if stage.id not in state.completed_stages:
            state.completed_stages.append(stage.id)
        state.active_stage = "" if following is None else following.id
        state.clear_status()
        return Move(stage.id, state.active_stage, state.copy())

    def _following(self, stage: WorkflowStage) -> WorkflowStage | None:
        place = self.definition.index[stage.id] + 1
        return self.definition.stages[place] if place < len(self.definition.stages) else None

    # --- one stage and one call -----------------------------------------------------------------

    def _misfit(self, stage: WorkflowStage, call: ToolCall) -> _Misfit | None:
        if not stage.tools and not stage.checks and (stage.approval is not None or stage.exit):
            return _Misfit(None)
        if stage.terminal and not stage.tools:
            return _Misfit(NOT_ALLOWED)
        if stage.tools and not any(glob_matcher(tool)(call.tool_name) for tool in stage.tools):
            return _Misfit(NOT_ALLOWED)
        line = _line_of(call) if stage.checks else _NO_COMMAND
        for check in stage.checks:
            pattern = self._patterns[_pattern_of(check)]
            if not (line.satisfies(pattern) if check.command_matches is not None else line.avoids(pattern)):
                return _Misfit(check.message, check)
        return None

    def read_by(self, stage: WorkflowStage, call: ToolCall) -> str | None:
        """
        The file that a call reads, if its tool counts as reading one.
        """
        if call.tool_name != _READ and not any(glob_matcher(tool)(call.tool_name) for tool in stage.reads_from):
            return None
        if call.file_path is not None or call.tool_name in FILE_TOOLS:
            return call.file_path
        paths = (call.args.get(key) for key in FILE_PATH_KEYS)
        return next((path for path in paths if isinstance(path, str) and path), None)

    # --- gates ----------------------------------------------------------------------------------

    async def _gates(
        self,
        stage: WorkflowStage,
        kind: str,
        gates: Sequence[WorkflowGate],
        state: WorkflowState,
        records: list[dict[str, Any]],
    ) -> _Held | None:
        """
        The first closed gate; None when all are open.
        """
        for gate in gates:
            passed, evidence = await self._open(self._conditions[gate.condition], stage, state)
            reason = None if passed else gate.message or f"Stage {stage.id!r} needs first: {gate.condition}"
            records.append(self._record(stage, kind, gate.condition, passed, reason, evidence))
            if reason is not None:
                return _Held("block", reason)
        return None

    async def _open(self, condition: Condition, stage: WorkflowStage, state: WorkflowState) -> tuple[bool, str]:
        """
        Whether a gate is open, and what shows it.
        """
        args = condition.args
        if condition.kind == "stage_complete":
            return args[0] in state.completed_stages, ""
        if condition.kind == "file_read":
            wanted = self._place(args[0])
            found = next((path for path in state.evidence.reads if self._place(path) == wanted), "")
            return bool(found), found
        if condition.kind == "approval":
            return state.approvals.get(args[0] if args else stage.id) == APPROVED, ""
        if condition.kind == "mcp_result_matches":
            tool, name, value = args
            results = state.evidence.mcp_results.get(tool, ())
            return any(_as_text(result.get(name)) == value for result in results if name in result), ""
        if condition.kind == "exec":
            return await self._run_exec(condition)
        return self._commands(condition, stage, state)

    def _commands(self, condition: Condition, stage: WorkflowStage, state: WorkflowState) -> tuple[bool, str]:
        assert condition.pattern is not None
        calls = state.evidence.stage_calls.get(stage.id, ())
        if condition.kind == "command_matches":
            found = next((call for call in calls if read_line(call).satisfies(condition.pattern)), None)
            return found is not None, found or ""
        if state.evidence.dropped.get(f"calls:{stage.id}"):
            return False, "more commands than can be recorded"
        broken = next((call for call in calls if not read_line(call).avoids(condition.pattern)), None)
        return broken is None, broken or ""

    def _place(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._workspace, path))

    def _record(
        self,
        stage: WorkflowStage,
        kind: str,
        condition: str,
        passed: bool,
        message: str | None,
        evidence: str = "",
    ) -> dict[str, Any]:
        name = self.definition.metadata.name
        metadata: dict[str, Any] = {
            "workflow_name": name,
            "stage_id": stage.id,
            "gate_kind": kind,
            "gate_condition": condition,
            "gate_passed": passed,
            "gate_evidence": evidence,
        }
        return {
            "name": f"{name}:{stage.id}:{kind}",
            "type": "workflow_gate",
            "passed": passed,
            "message": message,
            "metadata": metadata,
        }


def _line_of(call: ToolCall) -> CommandLine:
    """
    The command of a call, as checks see it: also that of a tool which nobody has declared to be a shell.
    """
    if call.bash_command is not None:
        return read_line(call.bash_command) if call.bash_command else _NO_COMMAND
    given = [call.args[key] for key in _COMMAND_KEYS if call.args.get(key) not in (None, "")]
    if not given:
        return _NO_COMMAND
    if len(given) == 1 and isinstance(given[0], str):
        return read_line(given[0])
    if len(given) == 1 and isinstance(given[0], (list, tuple)) and all(isinstance(word, str) for word in given[0]):
        return read_line(shell_join(given[0]))
    return CommandLine("", None)


def _pattern_of(check: WorkflowCheck) -> str:
    return check.command_matches if check.command_matches is not None else check.command_not_matches or ""


def _both(reason: str, other: str | None) -> str:
    """
    Two texts for the agent as one, where two things stand in the way.
    """
    return reason if other is None or other == reason else f"{reason} Also: {other}"


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)

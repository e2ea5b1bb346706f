"""
The workflow's part in one governed call: its gates on the way to the tool, its evidence on the way back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edictum.audit import AuditAction
from edictum.decision_log import CallLog
from edictum.engine.outcome import PreDecision
from edictum.pipeline import WORKFLOW, WORKFLOW_FAILED, ask_workflow
from edictum.refusal import Refusal, by_decision
from edictum.session import Session
from edictum.tool_call import ToolCall

if TYPE_CHECKING:
    from edictum.workflow import WorkflowEvaluation, WorkflowRuntime

logger = logging.getLogger(__name__)

MAX_APPROVALS = 32


class WorkflowStep:
    """
    What a workflow says about one call.

    Args:
        runtime: The workflow.
        session: The session that the call belongs to.
        call: The call.
        log: Gets what happens on the way.
        decision: What the rules decided; the gates add to it.

    Attributes:
        evaluation: The latest answer.
    """

    __slots__ = ("_call", "_decision", "_log", "_runtime", "_session", "evaluation")

    evaluation: WorkflowEvaluation

    def __init__(
        self, runtime: WorkflowRuntime, session: Session, call: ToolCall, log: CallLog, decision: PreDecision
    ) -> None:
        self._runtime = runtime
        self._session = session
        self._call = call
        self._log = log
        self._decision = decision

    async def judge(self) -> PreDecision:
        """
        Ask the workflow, and log the stages that were left.

        Returns:
            The decision of the rules with the gates added; ``pending_approval`` when a person has to agree first.

        Raises:
            Refusal: The workflow blocks the call, or could not be asked.
        """
        try:
            decision, evaluation = await ask_workflow(self._runtime, self._session, self._call, self._decision)
        except Exception as error:
            raise _failed(WORKFLOW_FAILED, error, self._decision) from error
        self.evaluation = evaluation
        self._log.workflow = evaluation.audit
        await self._write(evaluation.events)
        if evaluation.action == "block":
            raise by_decision(decision)
        return decision

    async def approve(self, facts: Mapping[str, Any]) -> None:
        """
        Note that a person agreed to leaving the stage.

        Raises:
            Refusal: It could not be noted.
        """
        try:
            await self._runtime.record_approval(
                self._session,
                self.evaluation.stage_id,
                approver=facts.get("approver"),
                approval_id=facts.get("approval_id"),
            )
        except Exception as error:
            reason = "The approval could not be recorded, so the call is blocked. Make the call again."
            raise _failed(reason, error, self._decision) from error

    async def record(self, result: Any) -> list[dict[str, Any]]:
        """
        Note what a tool that succeeded has done, and show it on the events that follow.

        Returns:
            What is to be logged once the end of the call is; see :meth:`close`.
        """
        from edictum.workflow import mcp_result_of

        if self.evaluation.action != "allow":
            return []
        try:
            found = mcp_result_of(self._call, result)
            stage_id = self.evaluation.stage_id
            events = await self._runtime.record_result(self._session, stage_id, self._call, mcp_result=found)
            self._log.workflow = self._runtime.snapshot(await self._runtime.state(self._session))
        except Exception:
            # The tool has run; without this evidence the workflow asks for more than it needs, never for less.
            logger.exception("what a call of tool %r did was not recorded", self._call.tool_name)
            return []
        return events

    async def close(self, events: list[dict[str, Any]]) -> None:
        """
        Log what the recorded result led to.
        """
        await self._write(events)

    async def _write(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            pending = self._log.write(AuditAction(event["action"]), workflow=event["workflow"])
            if pending is not None:
                await pending


def _failed(reason: str, error: Exception, decision: PreDecision) -> Refusal:
    return Refusal(WORKFLOW, "workflow_error", reason, cause=error, decision=decision)

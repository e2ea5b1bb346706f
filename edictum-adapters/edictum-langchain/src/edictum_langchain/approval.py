"""
Approvals that pause the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from edictum import ApprovalDecision, ApprovalPaused, ApprovalRequest, ApprovalStatus, Principal
from edictum.tool_call import new_call_id
from langgraph.errors import GraphBubbleUp
from langgraph.types import interrupt

# A request and the wait for its answer belong to one task, so nothing is kept in the backend.
_asked: ContextVar[ApprovalRequest | None] = ContextVar("edictum_approval", default=None)


class InterruptApprovalBackend:
    """
    Asks by LangGraph's ``interrupt()``: the run ends, and resuming it with the answer makes the same call.

    The graph needs a checkpointer.  ``result["__interrupt__"][0].value`` says what is asked; the answer is
    ``Command(resume=True)``, ``Command(resume=False)`` or
    ``Command(resume={"approved": True, "approver": "ann", "reason": "ok"})``.  Anything else is a no.

    While the run is paused no time counts, so the ``timeout`` of a rule has no effect here.
    """

    pauses = True

    async def request_approval(
        self,
        tool_name: str,
        tool_args: dict[str, Any],
        message: str,
        *,
        timeout: float = 300,
        timeout_action: str = "block",
        principal: Principal | None = None,
        metadata: dict[str, Any] | None = None,
        session_id: str | None = None,
    ) -> ApprovalRequest:
        """
        See :class:`~edictum.ApprovalBackend`.
        """
        facts = metadata or {}
        request = ApprovalRequest(
            # The id of the call, which is the same when the run is resumed.
            str(facts.get("call_id") or new_call_id()),
            tool_name,
            tool_args,
            message,
            timeout,
            timeout_action,
            principal,
            facts,
            session_id,
        )
        _asked.set(request)
        return request

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        """
        See :class:`~edictum.ApprovalBackend`.

        Raises:
            ApprovalPaused: The answer comes when the run is resumed.
            RuntimeError: The call is not made inside a graph.
            ValueError: The id is not that of the request before.
        """
        request = _asked.get()
        _asked.set(None)
        if request is None or request.approval_id != approval_id:
            raise ValueError(f"approval {approval_id!r} was not asked for here")
        question = {
            "type": "edictum_approval",
            "approval_id": approval_id,
            "tool": request.tool_name,
            "args": request.tool_args,
            "message": request.message,
            "rules": list(request.metadata.get("rules", ())),
        }
        try:
            return _read(interrupt(question))
        except GraphBubbleUp as pause:
            raise ApprovalPaused from pause


def _read(answer: Any) -> ApprovalDecision:
    facts = answer if isinstance(answer, Mapping) else {"approved": answer}
    approved = facts.get("approved") is True
    approver, reason = facts.get("approver"), facts.get("reason")
    return ApprovalDecision(
        approved,
        approver if isinstance(approver, str) else None,
        reason if isinstance(reason, str) else None,
        ApprovalStatus.APPROVED if approved else ApprovalStatus.DENIED,
    )

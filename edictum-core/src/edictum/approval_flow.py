"""
Asking a person: the request to an approval backend, and what its answer means.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from edictum.approval import ApprovalBackend, ApprovalDecision, ApprovalRequest, ApprovalStatus
from edictum.engine.outcome import PreDecision
from edictum.snapshot import thaw
from edictum.tool_call import ToolCall

# A backend keeps the rule's timeout itself; this is how much later the guard stops waiting for it.
GRACE_SECONDS = 5.0

Verdict: TypeAlias = Literal["granted", "denied", "timeout"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of a request.

    Attributes:
        verdict: ``granted``, ``denied`` or ``timeout``.
        approver: Who decided.
        reason: Why, in the approver's words.
    """

    verdict: Verdict
    approver: str | None = None
    reason: str | None = None


async def request_approval(
    backend: ApprovalBackend,
    call: ToolCall,
    decision: PreDecision,
    binding: dict[str, Any],
    redact_args: Callable[[Any], Any],
) -> ApprovalRequest:
    """
    Send a request.

    The backend gets redacted arguments unless it declares ``wants_raw_args = True``.

    Args:
        backend: Where people are asked.
        call: The call.
        decision: The pending decision.
        binding: What the approval is bound to; passed as metadata.
        redact_args: Makes arguments fit to be shown.
    """
    raw = getattr(backend, "wants_raw_args", False) is True
    keywords: dict[str, Any] = {
        "timeout": decision.approval_timeout,
        "timeout_action": decision.approval_timeout_action,
        "principal": call.principal,
        "metadata": binding,
        "session_id": call.run_id,
    }
    accepted = _accepted_keywords(backend)
    if accepted is not None:
        keywords = {name: value for name, value in keywords.items() if name in accepted}
    return await backend.request_approval(
        call.tool_name,
        thaw(call.args) if raw else redact_args(call.args),
        decision.approval_message or "",
        **keywords,
    )


def _accepted_keywords(backend: ApprovalBackend) -> set[str] | None:
    """
    Keywords that an older backend's method takes; None when it takes all.
    """
    parameters = inspect.signature(backend.request_approval).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name for parameter in parameters}


async def await_decision(backend: ApprovalBackend, request: ApprovalRequest, timeout: int) -> Outcome:
    """
    Wait for the answer, at most a little longer than the rule's timeout.

    Raises:
        Exception: Whatever the backend raises, and ``TypeError`` for an answer that is none.
    """
    import asyncio

    try:
        async with asyncio.timeout(timeout + GRACE_SECONDS):
            answer = await backend.wait_for_decision(request.approval_id, timeout=timeout)
    except TimeoutError:
        return Outcome("timeout")
    if not isinstance(answer, ApprovalDecision):
        raise TypeError(f"an approval backend answers with an ApprovalDecision, not {type(answer).__name__}")
    if answer.status is ApprovalStatus.TIMEOUT:
        return Outcome("timeout", answer.approver, answer.reason)
    # Older backends leave the status at its default, pending.
    agreed = answer.status in (ApprovalStatus.APPROVED, ApprovalStatus.PENDING)
    verdict: Verdict = "granted" if answer.approved is True and agreed else "denied"
    return Outcome(verdict, answer.approver, answer.reason)

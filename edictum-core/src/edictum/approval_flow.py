"""
Asking a person: the request to an approval backend, and what its answer means.

The approval holds for exactly one action: this tool with these arguments under this ruleset.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from edictum.approval import ApprovalBackend, ApprovalDecision, ApprovalPaused, ApprovalRequest, ApprovalStatus
from edictum.audit import AuditAction
from edictum.decision_log import CallLog
from edictum.engine.outcome import PreDecision
from edictum.pipeline import WORKFLOW
from edictum.refusal import Refusal, by_unwritten_log
from edictum.snapshot import fingerprint, thaw
from edictum.text import escape_controls, shorten
from edictum.tool_call import ToolCall

if TYPE_CHECKING:
    from edictum.guard_parts import GuardParts

# A backend keeps the rule's timeout itself; this is how much later the guard stops waiting for it.
GRACE_SECONDS = 5.0
MAX_REASON = 200


async def obtain_approval(
    guard: GuardParts, log: CallLog, call: ToolCall, decision: PreDecision, policy_version: str | None
) -> dict[str, Any]:
    """
    Ask a person about a pending call; returns when the person agreed.

    Args:
        guard: Whose approval backend is asked.
        log: Gets an event for the request and one for the answer.
        call: The call.
        decision: The pending decision.
        policy_version: The ruleset that the approval is bound to.

    Returns:
        What is known about the answer, among it ``approval_id`` and ``approver``.

    Raises:
        ApprovalPaused: The answer comes later, when the same call is made again.
        Refusal: Nobody could be asked, nobody answered in time, or the answer is no.
    """
    source, name, message = decision.decision_source or "", decision.decision_name, decision.reason or ""
    backend = guard._approval_backend
    if backend is None:
        text = f"This call needs approval, but no approval backend is set: {message}"
        raise Refusal(source, name, text, decision=decision, policy_error=decision.policy_error)
    said: dict[str, Any] = {
        "decision": decision,
        "source": source,
        "name": name,
        "reason": message,
        "policy_error": decision.policy_error,
    }
    facts: dict[str, Any] = {"rules": list(decision.approval_rules)}
    if source == WORKFLOW:
        facts["approval_requested_for"] = decision.workflow_stage_id
    binding = {
        **facts,
        "args_fingerprint": fingerprint(call.tool_name, call.args),
        "policy_version": policy_version,
        "call_id": call.call_id,
    }
    try:
        request = await _request(backend, guard, call, decision, binding)
        facts["approval_id"] = request.approval_id
        pauses = getattr(backend, "pauses", False) is True
        if not pauses:
            await _log_request(log, facts, said)
        asked_at = guard._clock.monotonic()
        try:
            answer = await _answer(backend, request, decision.approval_timeout)
        except ApprovalPaused:
            # Written here and not before: the call that is made again with the answer asks nobody.
            if pauses:
                await _log_request(log, facts, said)
            raise
        facts["waited_ms"] = round((guard._clock.monotonic() - asked_at) * 1000)
    except Exception as error:
        text = f"This call needs approval, and the approval could not be obtained: {message}"
        action = AuditAction.CALL_APPROVAL_DENIED
        raise Refusal(
            "approval_error", name, text, cause=error, decision=decision, action=action, metadata=facts
        ) from error
    facts["approver"] = answer.approver if answer else None
    facts["approval_reason"] = answer.reason if answer else None
    action, refused = _read(answer, decision)
    if refused is not None:
        raise Refusal(
            source,
            name,
            refused,
            policy_error=decision.policy_error,
            decision=decision,
            action=action,
            metadata=facts,
        )
    pending = log.write(action, metadata=facts, **said)
    if pending is not None and not await pending and guard._audit_failure == "block":
        raise by_unwritten_log(decision)
    if guard._state.policy_version != policy_version:
        text = "The ruleset changed while the approval was pending, so the call is blocked. Make it again."
        raise Refusal("policy_changed", name, text, decision=decision)
    return facts


async def _log_request(log: CallLog, facts: dict[str, Any], said: dict[str, Any]) -> None:
    pending = log.write(AuditAction.CALL_APPROVAL_REQUESTED, metadata=facts, **said)
    if pending is not None:
        await pending


async def _request(
    backend: ApprovalBackend, guard: GuardParts, call: ToolCall, decision: PreDecision, binding: dict[str, Any]
) -> ApprovalRequest:
    """
    Send the request, with redacted arguments unless the backend declares ``wants_raw_args = True``.
    """
    raw = getattr(backend, "wants_raw_args", False) is True
    keywords: dict[str, Any] = {
        "timeout": decision.approval_timeout,
        "timeout_action": decision.approval_timeout_action,
        "principal": call.principal,
        "metadata": binding,
        "session_id": call.run_id,
    }
    # Backends written for earlier versions do not take all of these.
    parameters = inspect.signature(backend.request_approval).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        accepted = {parameter.name for parameter in parameters}
        keywords = {name: value for name, value in keywords.items() if name in accepted}
    args = thaw(call.args) if raw else guard.redaction.redact_args(call.args)
    return await backend.request_approval(call.tool_name, args, decision.approval_message or "", **keywords)


async def _answer(backend: ApprovalBackend, request: ApprovalRequest, timeout: int) -> ApprovalDecision | None:
    """
    Wait for the answer, at most a little longer than the rule's timeout; None when there is none.
    """
    import asyncio

    limit = asyncio.timeout(timeout + GRACE_SECONDS)
    try:
        async with limit:
            answer = await backend.wait_for_decision(request.approval_id, timeout=timeout)
    except TimeoutError:
        if not limit.expired():
            raise  # the backend's own trouble, not a person who did not answer
        return None
    if not isinstance(answer, ApprovalDecision):
        raise TypeError(f"an approval backend answers with an ApprovalDecision, not {type(answer).__name__}")
    return answer


def _read(answer: ApprovalDecision | None, decision: PreDecision) -> tuple[AuditAction, str | None]:
    """
    Which event an answer is, and why the call is refused; None when it is not.
    """
    message = decision.reason or ""
    if answer is None or answer.status is ApprovalStatus.TIMEOUT:
        allowed = decision.approval_timeout_action == "allow"
        refused = None if allowed else f"Nobody answered the request for approval in time: {message}"
        return AuditAction.CALL_APPROVAL_TIMEOUT, refused
    # Older backends leave the status at its default, pending.
    agreed = answer.status in (ApprovalStatus.APPROVED, ApprovalStatus.PENDING)
    if answer.approved is True and agreed:
        return AuditAction.CALL_APPROVAL_GRANTED, None
    # An approver may paste anything; the agent gets one short line of it.
    because = f" ({shorten(escape_controls(answer.reason), MAX_REASON)})" if answer.reason else ""
    return AuditAction.CALL_APPROVAL_DENIED, f"The approval was refused{because}: {message}"

"""
What a model is told about a call that was blocked: why, by what, and whether trying again can help.
"""

from __future__ import annotations

from edictum.audit import AuditAction
from edictum.errors import EdictumDenied

_LATER = "The cause may pass: the same call may work later."
_AGAIN = "Make the call again, as it is meant to run."
_NEVER = "Making it again will not help. Tell the user."
_SESSION = "This holds for the rest of the session: calls like it will be blocked again."

# By kind of check; all others are rules, which judge the same call in the same way.
_BY_SOURCE = {
    "approval_error": _LATER,
    "args_changed": _AGAIN,
    "attempt_limit": _SESSION,
    "audit_unavailable": _LATER,
    "backend_error": _LATER,
    "internal_error": _NEVER,
    "invalid_call": _NEVER,
    "operation_limit": _SESSION,
    "policy_changed": _AGAIN,
    "session_contract": _SESSION,
    "workflow": "Do first what the present stage of the work asks for.",
    "yaml_session": _SESSION,
}
_BY_RULE = "The same call will be blocked again. Change it, or go on without it."
_BY_PERSON = "Do not make the call again unless the user asks for it."
_BY_NOBODY = "Ask the user before you make the call again."


def refusal_text(denied: EdictumDenied) -> str:
    """
    The text for the model in place of the tool's result.

    Returns:
        Two lines: the rule or limit with its reason, and what to do instead.
    """
    by = f"Blocked by {denied.decision_name!r}" if denied.decision_name else "Blocked"
    return f"{by}: {denied.reason}\nThe tool did not run. {_advice(denied)}"


def retry_may_help(denied: EdictumDenied) -> bool:
    """
    Whether the same call, made again without a change, may pass.
    """
    return _advice(denied) in (_LATER, _AGAIN)


def _advice(denied: EdictumDenied) -> str:
    by_source = _BY_SOURCE.get(denied.decision_source or "")
    if by_source is not None:
        return by_source
    if denied.action == AuditAction.CALL_APPROVAL_DENIED:
        return _BY_PERSON
    if denied.action == AuditAction.CALL_APPROVAL_TIMEOUT:
        return _BY_NOBODY
    return _BY_RULE

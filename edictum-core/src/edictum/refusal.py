"""
Why a call must not run: raised by the steps of a governed call, and turned into the block in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edictum.audit import AuditAction
from edictum.engine.outcome import PreDecision, error_text
from edictum.snapshot import EMPTY


class Refusal(Exception):  # noqa: N818  a signal between modules; users see EdictumDenied
    """
    The call must not run.

    Attributes:
        source: ``decision_source`` of the block.
        name: ``decision_name``, or None.
        reason: Text for the agent.
        policy_error: Whether something could not be judged.
        detail: Technical cause, for the decision log only.
        decision: The decision whose records belong to the event, or None.
        action: The event to write.
        would: What observe mode says instead: ``block`` or ``ask``.
        metadata: Further facts for the event.
    """

    __slots__ = ("action", "decision", "detail", "metadata", "name", "policy_error", "reason", "source", "would")

    def __init__(
        self,
        source: str,
        name: str | None,
        reason: str,
        *,
        cause: BaseException | None = None,
        policy_error: bool = False,
        decision: PreDecision | None = None,
        action: AuditAction = AuditAction.CALL_DENIED,
        would: str = "block",
        metadata: Mapping[str, Any] = EMPTY,
    ) -> None:
        self.source = source
        self.name = name
        self.reason = reason
        self.policy_error = policy_error or cause is not None
        self.detail = None if cause is None else error_text(cause)
        self.decision = decision
        self.action = action
        self.would = would
        self.metadata = metadata


def by_decision(decision: PreDecision) -> Refusal:
    """
    The engine blocked, or wants a person to be asked.
    """
    return Refusal(
        decision.decision_source or "",
        decision.decision_name,
        decision.reason or "",
        policy_error=decision.policy_error,
        decision=decision,
        would="ask" if decision.action == "pending_approval" else "block",
    )


def by_storage(error: Exception) -> Refusal:
    """
    The session's state could not be read or written.
    """
    reason = "The state of the session is not available, so the call is blocked. Try again later."
    return Refusal("backend_error", "session", reason, cause=error)


def by_unreadable_call(error: Exception) -> Refusal:
    """
    Arguments or principal could not be read.
    """
    reason = "The call could not be read, so it is blocked. Check the arguments."
    return Refusal("invalid_call", None, reason, cause=error)


def by_unknown_caller(error: Exception) -> Refusal:
    """
    Whoever knows on whose behalf the call is made failed to tell.
    """
    reason = "It could not be found out on whose behalf the call is made, so it is blocked. Report this to the user."
    return Refusal("invalid_call", None, reason, cause=error)


def by_internal_error(error: Exception) -> Refusal:
    """
    Something failed that nobody expected.
    """
    reason = "The call could not be checked, so it is blocked. Report this to the user."
    return Refusal("internal_error", None, reason, cause=error)


def by_changed_args(decision: PreDecision) -> Refusal:
    """
    The arguments are not those that were judged.
    """
    reason = "The arguments changed after the call was checked, so it is blocked. Make the call again."
    return Refusal("args_changed", None, reason, decision=decision)


def by_unwritten_log(decision: PreDecision) -> Refusal:
    """
    The decision log did not take the decision, and the guard insists on it.
    """
    reason = "The decision log cannot be written, so the call is blocked. Try again later."
    return Refusal("audit_unavailable", None, reason, decision=decision)

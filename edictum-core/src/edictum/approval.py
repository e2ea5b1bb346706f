"""
What an approval is: the request, the decision, and the backend that brings one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from edictum.tool_call import Principal


class ApprovalStatus(StrEnum):
    """
    Where an approval stands.
    """

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    TIMEOUT = "timeout"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """
    A tool call that waits for a person.

    Arguments, message, principal and metadata stay out of ``repr``, which ends up in logs and tracebacks.

    Attributes:
        approval_id: Id of the approval.
        tool_name: The tool that would run.
        tool_args: Its arguments, redacted unless the backend asked for raw ones.
        message: What the rule tells the approver.
        timeout: Seconds to wait for an answer.
        timeout_action: ``block`` or ``allow``, when nobody answers in time.
        principal: On whose behalf the tool would run.
        metadata: Further facts, for example the fingerprint of the arguments.
        session_id: The session of the call.
        created_at: When approval was asked for.
    """

    approval_id: str
    tool_name: str
    tool_args: dict[str, Any] = field(repr=False)
    message: str = field(repr=False)
    timeout: float
    timeout_action: str = "block"
    principal: Principal | None = field(default=None, repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    session_id: str | None = None
    created_at: datetime = field(default_factory=_now)


@dataclass(frozen=True, slots=True)
class ApprovalDecision:
    """
    The outcome of an approval.

    Attributes:
        approved: Whether the tool may run.
        approver: Who decided; None when nobody did.
        reason: Why.
        status: ``approved``, ``denied`` or ``timeout`` once it is settled.
        timestamp: When it was decided.
    """

    approved: bool
    approver: str | None = None
    reason: str | None = None
    status: ApprovalStatus = ApprovalStatus.PENDING
    timestamp: datetime = field(default_factory=_now)


class ApprovalPaused(BaseException):
    """
    The run ends here, and whoever runs it makes the same call again when the answer is there.

    Raised by ``wait_for_decision`` of a backend with the attribute ``pauses = True``.  The call that it stops neither
    ran nor counts.  Not an ``Exception``, so that nothing on the way takes it for a failure.
    """


@runtime_checkable
class ApprovalBackend(Protocol):
    """
    Brings an approval to a person and the answer back.

    Any exception from either method blocks the call.  A backend that must see arguments before redaction
    sets the attribute ``wants_raw_args = True``.  One with ``pauses = True`` may raise :class:`ApprovalPaused` instead
    of waiting; the request is logged then, and the answer when the call is made again.
    """

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
        Ask for approval, without waiting for the answer.
        """
        ...

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        """
        Wait for the answer, for at most ``timeout`` seconds or else the time given in the request.
        """
        ...

"""
Approvals without a person.
"""

from __future__ import annotations

import uuid
from typing import Any

from edictum import ApprovalDecision, ApprovalRequest, ApprovalStatus, Principal


class AutoApprovalBackend:
    """
    An approval backend that answers every request at once and in the same way.

    Args:
        status: The answer.

    Attributes:
        requests: What was asked, in order.
    """

    def __init__(self, status: ApprovalStatus = ApprovalStatus.APPROVED) -> None:
        self._status = status
        self.requests: list[ApprovalRequest] = []

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
        Note the request.
        """
        request = ApprovalRequest(
            str(uuid.uuid4()),
            tool_name,
            tool_args,
            message,
            timeout,
            timeout_action,
            principal,
            metadata or {},
            session_id,
        )
        self.requests.append(request)
        return request

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        """
        Give the answer.
        """
        return ApprovalDecision(self._status is ApprovalStatus.APPROVED, "auto", status=self._status)

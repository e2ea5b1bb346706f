"""
Asking people at a console, and waiting for what they decide.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import attrs
from edictum import ApprovalDecision, ApprovalRequest, ApprovalStatus, RedactionPolicy

from edictum_client.client import EdictumServerClient, identifier, quoted
from edictum_client.errors import EdictumServerError, ServerUnreachableError
from edictum_client.loop import client_loop, on_client_loop
from edictum_client.retries import APPROVAL, Backoff
from edictum_client.wire import Approval, read

if TYPE_CHECKING:
    from edictum import Principal

logger = logging.getLogger(__name__)

LONGEST_WAIT = 25
_POLL_SECONDS = 2.0
_ANSWER_SECONDS = 10
_LONGEST_MESSAGE = 4096
_MOST_REMEMBERED = 10_000

# Of the principal; arguments arrive redacted.
_REDACTION = RedactionPolicy()
_STATUSES = {
    "approved": ApprovalStatus.APPROVED,
    "rejected": ApprovalStatus.DENIED,
    "denied": ApprovalStatus.DENIED,
    "timed_out": ApprovalStatus.TIMEOUT,
    "timeout": ApprovalStatus.TIMEOUT,
}


class ServerApprovalBackend:
    """
    Brings requests for approval to the people at a console.

    The console is asked to answer as soon as somebody decides, so an answer arrives at once; one that cannot do that
    is asked every two seconds.  What fails raises, and then the call is blocked: a console that cannot be reached is
    never taken for one where nobody answered.

    Args:
        client: The way to the console.
    """

    def __init__(self, client: EdictumServerClient) -> None:
        self._client = client
        self._timeouts: dict[str, float] = {}
        self._news: dict[str, asyncio.Event] = {}

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

        Raises:
            EdictumServerError: The console did not take the request.
        """
        facts = metadata or {}
        rules = facts.get("rules") or [None]
        body = {
            "agent_id": self._client.agent_id,
            "tool_name": tool_name,
            "tool_args": tool_args,
            "message": message[:_LONGEST_MESSAGE] or "A tool call needs approval.",
            "timeout": max(1, round(timeout)),
            "timeout_action": timeout_action,
            "session_id": session_id,
            "call_id": facts.get("call_id"),
            "rule_name": rules[0],
            "policy_version": facts.get("policy_version"),
            "principal": None if principal is None else _REDACTION.redact_args(principal.to_dict()),
            "metadata": facts or None,
        }
        given = {name: value for name, value in body.items() if value is not None}
        answer = await self._client.request("POST", "/v1/approvals", body=given, schedule=APPROVAL)
        made = read(answer.body, Approval, "the request for approval")
        approval_id = identifier("the id of the approval", made.id)
        self._timeouts[approval_id] = timeout
        while len(self._timeouts) > _MOST_REMEMBERED:
            self._timeouts.pop(next(iter(self._timeouts)), None)
        return ApprovalRequest(
            approval_id=approval_id,
            tool_name=tool_name,
            tool_args=tool_args,
            message=message,
            timeout=timeout,
            timeout_action=timeout_action,
            principal=principal,
            metadata=facts,
            session_id=session_id,
        )

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        """
        Wait until somebody decides.

        Args:
            approval_id: The request.
            timeout: Seconds to wait at most; None for the time given in the request.

        Raises:
            EdictumServerError: The console refused, or could not be reached when the time was over.
        """
        identifier("approval_id", approval_id)
        seconds = self._timeouts.pop(approval_id, 300.0) if timeout is None else timeout
        try:
            return await on_client_loop(self._wait(approval_id, seconds))
        except asyncio.CancelledError:
            # The agent gave up; people should not be left with a question that nobody waits for.
            asyncio.run_coroutine_threadsafe(self._cancel(approval_id), client_loop())
            raise
        finally:
            self._timeouts.pop(approval_id, None)

    def decided(self, approval_id: str) -> None:
        """
        Hear, on the client's loop, that somebody decided: a request that waits is looked at now.
        """
        news = self._news.get(approval_id)
        if news is not None:
            news.set()

    async def _wait(self, approval_id: str, seconds: float) -> ApprovalDecision:
        until, backoff = time.monotonic() + seconds, Backoff(1.0, 10.0)
        news = self._news.setdefault(approval_id, asyncio.Event())
        try:
            while True:
                left = until - time.monotonic()
                asked = time.monotonic()
                try:
                    found = await self._look(approval_id, max(0, min(LONGEST_WAIT, int(left))), news)
                except ServerUnreachableError as error:
                    pause = backoff.pause(error.retry_after or 0.0)
                    if self._client.closed or time.monotonic() + pause > until:
                        raise
                    logger.warning("approval %s: %s", approval_id, error)
                    await asyncio.sleep(pause)
                    continue
                backoff.reset()
                status = _STATUSES.get(found.status)
                if status is not None:
                    return _decision(found, status)
                if left <= 0:
                    return ApprovalDecision(False, reason="nobody answered in time", status=ApprovalStatus.TIMEOUT)
                if not news.is_set() and time.monotonic() - asked < _POLL_SECONDS:
                    # The console answers at once instead of waiting, or the end is near.
                    await asyncio.sleep(max(0.05, min(_POLL_SECONDS, until - time.monotonic())))
                news.clear()
        finally:
            if self._news.get(approval_id) is news:
                del self._news[approval_id]

    async def _look(self, approval_id: str, wait: int, news: asyncio.Event) -> Approval:
        """
        Ask for the decision; the console answers when there is one, or when it has waited.

        News of a decision end the waiting, because a console behind some proxies answers late.
        """
        path, schedule = f"/v1/approvals/{quoted(approval_id)}", APPROVAL.lasting(wait + _ANSWER_SECONDS)
        schedule = attrs.evolve(schedule, pauses=())

        async def ask(seconds: int) -> Approval:
            query = {"wait": str(seconds)} if seconds else None
            answer = await self._client.request("GET", path, query=query, schedule=schedule)
            return read(answer.body, Approval, "the approval")

        asking = asyncio.ensure_future(ask(wait))
        hearing = asyncio.ensure_future(news.wait())
        try:
            await asyncio.wait({asking, hearing}, return_when=asyncio.FIRST_COMPLETED)
            return await asking if asking.done() else await ask(0)
        finally:
            for task in (asking, hearing):
                task.cancel()
            await asyncio.gather(asking, hearing, return_exceptions=True)

    async def _cancel(self, approval_id: str) -> None:
        try:
            await self._client.request("POST", f"/v1/approvals/{quoted(approval_id)}/cancel", body={})
        except EdictumServerError as error:
            logger.info("approval %s could not be cancelled, it ends by itself: %s", approval_id, error)


def _decision(found: Approval, status: ApprovalStatus) -> ApprovalDecision:
    return ApprovalDecision(status is ApprovalStatus.APPROVED, found.decided_by, found.decision_reason, status)

"""
Approvals without a person: answers from a script, at once, too late, or never.

    approvals = ScriptedApprovalBackend(["approved", "denied"])
    guard = Edictum.from_yaml("rules.yaml", approval_backend=approvals)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeAlias

from edictum.approval import ApprovalDecision, ApprovalRequest, ApprovalStatus
from edictum.tool_call import Principal

Answer: TypeAlias = ApprovalDecision | ApprovalStatus | str | Exception
"""
What a script says about one request; see :class:`ScriptedApprovalBackend`.
"""


class ScriptedApprovalBackend:
    """
    An approval backend whose answers are written down beforehand; the first request gets the first answer.

    An answer is one of these:

    * ``approved`` or ``denied``: a person answers at once;
    * ``timeout``: nobody answers, and the time is over at once;
    * ``pending``: the caller waits until :meth:`answer` is called, or until its time is over;
    * an :class:`~edictum.ApprovalDecision`, which is given as it is;
    * an exception, which is raised to the caller that waits.

    A request for which the script has no answer raises, so its call is blocked.  As with real approvals, an id
    can be waited for once.  Safe for several threads and event loops.

    Args:
        answers: The script.
        meanwhile: Awaited before each answer: what happens while a person thinks.

    Attributes:
        approver: Who answers.
        requests: What was asked, in order.
        waits: Id and time limit of each wait, in order.

    Raises:
        ValueError: The script says what is no answer.
    """

    approver = "script"

    def __init__(
        self, answers: Iterable[Answer] = (), *, meanwhile: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        self._script = [_checked(answer) for answer in answers]
        self._meanwhile = meanwhile
        self._lock = threading.Lock()
        self._asked: dict[str, _Approval] = {}
        self.requests: list[ApprovalRequest] = []
        self.waits: list[tuple[str, float | None]] = []

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
        Note the request; see :class:`~edictum.ApprovalBackend`.

        Raises:
            AssertionError: The script has no answer to it.
        """
        with self._lock:
            number = len(self.requests)
            answer = self._answer_to(number)
            request = ApprovalRequest(
                approval_id=f"approval-{number + 1}",
                tool_name=tool_name,
                tool_args=tool_args,
                message=message,
                timeout=timeout,
                timeout_action=timeout_action,
                principal=principal,
                metadata=dict(metadata or {}),
                session_id=session_id,
            )
            self.requests.append(request)
            self._asked[request.approval_id] = _Approval(request, answer)
        return request

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        """
        Give the answer; see :class:`~edictum.ApprovalBackend`.

        Raises:
            ValueError: The id is unknown or was already waited for.
            Exception: The script says so.
        """
        with self._lock:
            self.waits.append((approval_id, timeout))
            approval = self._asked.get(approval_id)
            if approval is None or approval.waited_for:
                raise ValueError(f"approval {approval_id!r} is unknown here, or was already waited for")
            approval.waited_for = True
        request = approval.request
        if self._meanwhile is not None:
            await self._meanwhile()
        answer = await approval.wait(request.timeout if timeout is None else timeout)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, ApprovalDecision):
            return answer
        if answer is ApprovalStatus.TIMEOUT:
            allowed = request.timeout_action == "allow"
            return ApprovalDecision(allowed, reason="nobody answered in time", status=answer)
        return ApprovalDecision(answer is ApprovalStatus.APPROVED, self.approver, status=answer)

    def answer(self, approval_id: str, answer: Answer = ApprovalStatus.APPROVED) -> bool:
        """
        Answer a request that the script leaves ``pending``, from any thread.

        Args:
            approval_id: Id of the request.
            answer: Any answer but ``pending``.

        Returns:
            Whether the answer counts.  It does not when it comes late: the request was answered before, its time
            is over, or its caller was cancelled.

        Raises:
            ValueError: The id is unknown, or the answer is none.
        """
        with self._lock:
            approval = self._asked.get(approval_id)
        if approval is None:
            raise ValueError(f"approval {approval_id!r} is unknown here")
        checked = _checked(answer)
        if checked is ApprovalStatus.PENDING:
            raise ValueError("'pending' is no answer; give approved, denied or timeout")
        return approval.settle(checked)

    def _answer_to(self, number: int) -> _Checked:
        if number >= len(self._script):
            raise AssertionError(
                f"the script has {len(self._script)} answers, and this is request {number + 1}; add an answer"
            )
        return self._script[number]


class AutoApprovalBackend(ScriptedApprovalBackend):
    """
    A :class:`ScriptedApprovalBackend` that gives the same answer to every request.

    Args:
        answer: The answer.
        meanwhile: Awaited before each answer.

    Raises:
        ValueError: This is no answer.
    """

    approver = "auto"

    def __init__(
        self,
        answer: Answer = ApprovalStatus.APPROVED,
        *,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        super().__init__([answer], meanwhile=meanwhile)

    def _answer_to(self, number: int) -> _Checked:
        return self._script[0]


_Checked: TypeAlias = ApprovalDecision | ApprovalStatus | Exception


def _checked(answer: Answer) -> _Checked:
    if isinstance(answer, (ApprovalDecision, Exception)):
        return answer
    try:
        return ApprovalStatus(answer)
    except ValueError:
        known = ", ".join(ApprovalStatus)
        raise ValueError(
            f"{answer!r} is no answer; give an ApprovalDecision, an exception, or one of {known}"
        ) from None


class _Approval:
    """
    One request and its answer, which is ``pending`` until there is one.
    """

    def __init__(self, request: ApprovalRequest, answer: _Checked) -> None:
        self.request = request
        self.waited_for = False
        self._answer = answer
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None

    def settle(self, answer: _Checked) -> bool:
        """
        Take the answer if there is none yet.
        """
        with self._lock:
            if self._answer is not ApprovalStatus.PENDING:
                return False
            self._answer = answer
            wake = self._wake
        if wake is not None:
            wake()
        return True

    async def wait(self, seconds: float) -> _Checked:
        """
        The answer, which is a timeout when there is none in time.
        """
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()

        def wake() -> None:
            # RuntimeError: the loop was closed meanwhile, so nobody waits any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(answered.set)

        with self._lock:
            self._wake = wake
            if self._answer is not ApprovalStatus.PENDING:
                answered.set()
        try:
            async with asyncio.timeout(seconds):
                await answered.wait()
        except TimeoutError:
            pass
        finally:
            # Whatever comes from now on is late, also after a cancellation.
            self.settle(ApprovalStatus.TIMEOUT)
        return self._answer

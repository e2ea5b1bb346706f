"""
The suite for approval backends.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable
from typing import Any, ClassVar

from edictum import Edictum, EdictumDenied
from edictum.approval import ApprovalBackend, ApprovalDecision, ApprovalRequest, ApprovalStatus
from edictum.testing.running import in_threads, run_within
from edictum.testing.suites.suite import Suite, check, error_of, on_a_loop, over_loops, result_of, same
from edictum.tool_call import Principal

LONG = 600.0
RULE = {"id": "ask", "type": "pre", "tool": "*", "when": {"tool.name": {"exists": True}}}


class ApprovalBackendSuite(Suite[ApprovalBackend]):
    """
    The tests that every approval backend passes; see :mod:`edictum.testing.suites` for how to run them.

    A subclass defines ``make`` and ``answer``.  It may define ``break_it`` and ``repair`` (nobody can be asked), and
    ``close``; without them some tests are skipped.

    Attributes:
        soon: Seconds after which a wait of the tests runs out that nobody answers.
    """

    soon: ClassVar[float] = 0.2

    def answer(self, backend: ApprovalBackend, request: ApprovalRequest, approved: bool) -> Awaitable[None] | None:
        """
        Answer a request as a person would, and return when the answer has arrived.

        Several requests may be open at once, and nobody may be waiting for this one yet, or any longer.  A plain
        function must not wait; an ``async`` one may, for example until the request is shown.
        """
        raise NotImplementedError(f"{type(self).__name__} defines answer(), which answers a request as a person would")

    # --- the request --------------------------------------------------------------------------------

    @on_a_loop
    async def test_request_keeps_what_it_was_given(self, backend: ApprovalBackend) -> None:
        """
        It is returned before anybody answers.
        """
        given: dict[str, Any] = {
            "timeout": 7,
            "timeout_action": "allow",
            "principal": Principal("ann", claims={"team": "x"}),
            "metadata": {"rules": ["ask"], "args_fingerprint": "f", "policy_version": None},
            "session_id": "session-1",
        }
        args = {"path": "notes.txt", "lines": [1, 2.5, None], "text": "two\nlines, ünïcode \U0001f642"}
        request = await backend.request_approval("read_file", args, "May it read\x1b[2J?", **given)
        check(isinstance(request, ApprovalRequest), f"a request is an ApprovalRequest, not {type(request).__name__}")
        same("read_file", request.tool_name, "the tool of a request")
        same(args, request.tool_args, "the arguments of a request")
        same("May it read\x1b[2J?", request.message, "the message of a request")
        for name, value in given.items():
            same(value, getattr(request, name), f"{name} of a request")

    @on_a_loop
    async def test_request_without_options_blocks_on_timeout(self, backend: ApprovalBackend) -> None:
        """
        Tool, arguments and message are enough.
        """
        request = await backend.request_approval("read_file", {}, "May it?")
        same("block", request.timeout_action, "the timeout action of a request")
        same(({}, None, None), (request.metadata, request.principal, request.session_id), "its other facts")
        check(request.created_at.tzinfo is not None, "the time of a request has a time zone")

    @on_a_loop
    async def test_requests_have_ids_of_their_own(self, backend: ApprovalBackend) -> None:
        """
        Also those for the same call.
        """
        ids = [(await self._asked(backend)).approval_id for _ in range(20)]
        check(all(isinstance(name, str) and name for name in ids), "the id of a request is text that is not empty")
        same(20, len(set(ids)), "the different ids of 20 requests")

    # --- the answer ---------------------------------------------------------------------------------

    @on_a_loop
    async def test_answer_decides(self, backend: ApprovalBackend) -> None:
        """
        Yes and no arrive as such, with a status that says the same.
        """
        for approved in (True, False, True):
            decision = await self._answered(backend, await self._asked(backend), approved)
            status = ApprovalStatus.APPROVED if approved else ApprovalStatus.DENIED
            same((approved, status), (decision.approved, decision.status), "approved and status of an answer")
            check(decision.timestamp.tzinfo is not None, "the time of a decision has a time zone")

    @on_a_loop
    async def test_answer_before_anybody_waits_is_not_lost(self, backend: ApprovalBackend) -> None:
        """
        A person may be faster than the program.
        """
        request = await self._asked(backend)
        answering = asyncio.create_task(_awaited(self.answer(backend, request, True)))
        for _ in range(5):
            await asyncio.sleep(0)
        decision = await backend.wait_for_decision(request.approval_id, timeout=LONG)
        await answering
        same(True, decision.approved, "an answer that came before the wait")

    @on_a_loop
    async def test_answer_approves_one_request_only(self, backend: ApprovalBackend) -> None:
        """
        A request for the same call again, before or after the answer, is another request.
        """
        first, second = [await self._asked(backend) for _ in range(2)]
        same(True, (await self._answered(backend, first, True)).approved, "the request that was answered")
        third = await self._asked(backend)
        for request in (second, third):
            await self._unanswered(backend, request, "a request for the same call as one that was approved")

    @on_a_loop
    async def test_answers_reach_the_requests_that_they_are_for(self, backend: ApprovalBackend) -> None:
        """
        Several calls wait at once.
        """
        approved = [False, True, True, False, False]
        requests = [await self._asked(backend, number) for number in range(5)]
        waits = [backend.wait_for_decision(request.approval_id, timeout=LONG) for request in requests]
        waiting = asyncio.gather(*waits)
        await asyncio.sleep(0)
        # Neither the oldest nor the newest first.
        answers = [_awaited(self.answer(backend, requests[at], approved[at])) for at in (3, 1, 4, 0, 2)]
        await asyncio.gather(*answers)
        same(approved, [decision.approved for decision in await waiting], "the answers to 5 requests")

    @over_loops
    def test_answers_reach_the_threads_that_they_are_for(self, backend: ApprovalBackend) -> None:
        """
        Threads with event loops of their own share a backend.
        """

        async def ask() -> bool:
            number = uuid.uuid4().int
            request = await self._asked(backend, number)
            decision = await self._answered(backend, request, number % 2 == 0)
            return decision.approved is (number % 2 == 0)

        found = in_threads(4, lambda: [run_within(self.patience, ask()) for _ in range(2)], seconds=self.patience)
        same([[True, True]] * 4, found, "whether 8 requests of 4 threads got their own answers")

    # --- no answer ----------------------------------------------------------------------------------

    @on_a_loop
    async def test_wait_that_runs_out_is_a_timeout(self, backend: ApprovalBackend) -> None:
        """
        The decision says so, and approves nothing unless the request says ``allow``.
        """
        await self._unanswered(backend, await self._asked(backend), "a request that nobody answers")
        request = await self._asked(backend, timeout_action="allow")
        decision = await backend.wait_for_decision(request.approval_id, timeout=self.soon)
        same(ApprovalStatus.TIMEOUT, decision.status, "the status of a request with timeout_action 'allow'")

    @on_a_loop
    async def test_wait_without_a_time_takes_that_of_the_request(self, backend: ApprovalBackend) -> None:
        """
        ``timeout`` of the request counts where the wait names none.
        """
        request = await self._asked(backend, timeout=self.soon)
        decision = await backend.wait_for_decision(request.approval_id)
        same(ApprovalStatus.TIMEOUT, decision.status, "the status of a request that nobody answers")

    @on_a_loop
    async def test_late_answer_counts_for_nothing(self, backend: ApprovalBackend) -> None:
        """
        Above all it does not answer the next request.
        """
        late = await self._asked(backend)
        await self._unanswered(backend, late, "a request that nobody answers in time")
        await result_of(self.answer(backend, late, True))
        following = await self._asked(backend)
        await self._unanswered(backend, following, "the request after a late answer")

    @on_a_loop
    async def test_cancelled_wait_ends_and_the_next_request_is_served(self, backend: ApprovalBackend) -> None:
        """
        The agent was stopped while somebody was asked.
        """
        given_up = await self._asked(backend)
        waiting = asyncio.ensure_future(backend.wait_for_decision(given_up.approval_id, timeout=LONG))
        await asyncio.sleep(self.soon / 4)
        waiting.cancel()
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        check(
            isinstance(outcome, asyncio.CancelledError), f"a cancelled wait ends with CancelledError, not {outcome!r}"
        )
        for approved in (False, True):
            decision = await self._answered(backend, await self._asked(backend), approved)
            same(approved, decision.approved, "an answer after a cancelled wait")

    @on_a_loop
    async def test_unknown_id_raises(self, backend: ApprovalBackend) -> None:
        """
        An id that was never given approves nothing, and is no timeout, which a rule may take as a yes.
        """
        known = await self._asked(backend)
        for approval_id in (str(uuid.uuid4()), "", known.approval_id + "x"):
            step = backend.wait_for_decision(approval_id, timeout=self.soon)
            await error_of(step, "waiting for an id that was never given")

    # --- trouble, and in use by a guard -------------------------------------------------------------

    @on_a_loop
    async def test_backend_that_can_ask_nobody_raises(self, backend: ApprovalBackend) -> None:
        """
        It does not wait for a timeout, which a rule may take as a yes; requests and waits may fail, one is enough.
        """
        await self._broken(backend)
        await error_of(self._ask_and_wait(backend), "asking while nobody can be asked")
        ran: list[int] = []
        try:
            await _guard(backend, "allow").run("read", {}, lambda: ran.append(1))
        except EdictumDenied as denied:
            same("approval_error", denied.decision_source, "the source of the decision")
        same([], ran, "the calls that were made while nobody could be asked")
        await result_of(self.repair(backend))
        decision = await self._answered(backend, await self._asked(backend), True)
        same(True, decision.approved, "an answer after people can be asked again")

    @on_a_loop
    async def test_guard_asks_and_obeys(self, backend: ApprovalBackend) -> None:
        """
        A call that needs approval runs after a yes, and not after a no.
        """
        asked: asyncio.Queue[ApprovalRequest] = asyncio.Queue()
        guard = _guard(_Noting(backend, asked))
        ran: list[str] = []
        for path, approved in (("a", True), ("b", False)):
            call = asyncio.ensure_future(guard.run("read", {"path": path}, lambda path: ran.append(path)))
            request = await asked.get()
            await asyncio.sleep(0)
            answering = _awaited(self.answer(backend, request, approved))
            outcome: object = (await asyncio.gather(call, answering, return_exceptions=True))[0]
            check(approved or isinstance(outcome, EdictumDenied), f"a call after a no is blocked, and not {outcome!r}")
        same(["a"], ran, "the calls that were made after a yes for 'a' and a no for 'b'")

    # --- asking and answering -----------------------------------------------------------------------

    async def _asked(self, backend: ApprovalBackend, number: int = 0, **options: Any) -> ApprovalRequest:
        facts = {"timeout": LONG, **options}
        return await backend.request_approval("read_file", {"number": number}, f"May it read {number}?", **facts)

    async def _answered(self, backend: ApprovalBackend, request: ApprovalRequest, approved: bool) -> ApprovalDecision:
        """
        The decision about a request that is answered while somebody waits for it.
        """
        waiting = asyncio.ensure_future(backend.wait_for_decision(request.approval_id, timeout=LONG))
        await asyncio.sleep(0)
        decision, _ = await asyncio.gather(waiting, _awaited(self.answer(backend, request, approved)))
        check(isinstance(decision, ApprovalDecision), f"a decision is an ApprovalDecision, not {decision!r}")
        return decision

    async def _unanswered(self, backend: ApprovalBackend, request: ApprovalRequest, what: str) -> None:
        decision = await backend.wait_for_decision(request.approval_id, timeout=self.soon)
        same((False, ApprovalStatus.TIMEOUT), (decision.approved, decision.status), f"approved and status of {what}")

    async def _ask_and_wait(self, backend: ApprovalBackend) -> ApprovalDecision:
        request = await self._asked(backend, timeout_action="allow")
        return await backend.wait_for_decision(request.approval_id, timeout=self.soon)


async def _awaited(result: Awaitable[None] | None) -> None:
    await result_of(result)


def _guard(backend: ApprovalBackend, timeout_action: str = "block") -> Edictum:
    then = {"action": "ask", "message": "May it?", "timeout": 300, "timeout_action": timeout_action}
    ruleset = {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "suite"},
        "defaults": {"mode": "enforce"},
        "rules": [{**RULE, "then": then}],
    }
    return Edictum.from_bundle_dict(ruleset, approval_backend=backend)


class _Noting:
    """
    An approval backend that tells which requests were made.
    """

    def __init__(self, backend: ApprovalBackend, asked: asyncio.Queue[ApprovalRequest]) -> None:
        self._backend = backend
        self._asked = asked

    async def request_approval(self, *args: Any, **facts: Any) -> ApprovalRequest:
        """
        See :class:`~edictum.ApprovalBackend`.
        """
        request = await self._backend.request_approval(*args, **facts)
        self._asked.put_nowait(request)
        return request

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        """
        See :class:`~edictum.ApprovalBackend`.
        """
        return await self._backend.wait_for_decision(approval_id, timeout=timeout)

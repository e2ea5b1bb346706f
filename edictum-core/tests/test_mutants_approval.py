"""
The suite for approval backends notices each of these faults.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from edictum import ApprovalBackend, ApprovalDecision, ApprovalRequest, ApprovalStatus
from edictum.testing import ApprovalBackendSuite, AutoApprovalBackend
from edictum.testing.suites.suite import Suite
from guards import granted, unanswered
from mutants import Mutants, failure, is_caught


class MutantSuite(ApprovalBackendSuite):
    patience = 5.0
    soon = 0.02
    part: Any

    def make(self) -> ApprovalBackend:
        backend: ApprovalBackend = self.part()
        return backend

    def answer(self, backend: Any, request: ApprovalRequest, approved: bool) -> None:
        backend.answer(request.approval_id, "approved" if approved else "denied")

    def break_it(self, backend: Any) -> bool:
        backend.broken = True
        return True

    def repair(self, backend: Any) -> None:
        backend.broken = False


mutants = Mutants(MutantSuite)
caught_by = mutants.caught_by


@pytest.mark.parametrize(("suite", "test"), mutants.cases)
def test_approval_mutant_is_caught(suite: type[Suite[Any]], test: str) -> None:
    assert is_caught(suite, test)


def test_every_test_of_the_approval_suite_can_fail() -> None:
    assert mutants.tests() - mutants.caught == set()


class Desk(AutoApprovalBackend):
    """
    A backend without a fault: each request waits for :meth:`answer`, and nobody can be asked while it is broken.
    """

    broken = False

    def __init__(self) -> None:
        super().__init__("pending")

    async def request_approval(self, *args: Any, **facts: Any) -> ApprovalRequest:
        if self.broken:
            raise ConnectionError("no route to the desk")
        return await super().request_approval(*args, **facts)


@pytest.mark.parametrize("fails", ["request", "wait"])
def test_approval_without_a_fault_is_let_through(fails: str) -> None:
    class FailsLate(Desk):
        async def request_approval(self, *args: Any, **facts: Any) -> ApprovalRequest:
            return await AutoApprovalBackend.request_approval(self, *args, **facts)

        async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
            if self.broken:
                raise ConnectionError("no route to the desk")
            return await super().wait_for_decision(approval_id, timeout)

    suite = mutants.suite_for(Desk if fails == "request" else FailsLate)

    assert {name: failure(suite, name) for name in mutants.tests() if failure(suite, name)} == {}


# --- the request ------------------------------------------------------------------------------------


@caught_by("request_keeps_what_it_was_given")
class ForgetsTheSession(Desk):
    async def request_approval(self, *args: Any, **facts: Any) -> ApprovalRequest:
        return replace(await super().request_approval(*args, **facts), session_id=None)


@caught_by("request_keeps_what_it_was_given")
class RoundsArguments(Desk):
    async def request_approval(self, tool_name: str, tool_args: Any, *args: Any, **facts: Any) -> ApprovalRequest:
        rounded = {name: str(value) for name, value in tool_args.items()}
        return await super().request_approval(tool_name, rounded, *args, **facts)


@caught_by("request_without_options_blocks_on_timeout")
class AllowsByDefault(Desk):
    async def request_approval(self, *args: Any, **facts: Any) -> ApprovalRequest:
        return await super().request_approval(*args, **{"timeout_action": "allow", **facts})


@caught_by("requests_have_ids_of_their_own", "answer_approves_one_request_only")
class OneIdForEachCall(Desk):
    """
    Remembers a call and its answer, for good.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, ApprovalRequest] = {}

    async def request_approval(self, tool_name: str, *args: Any, **facts: Any) -> ApprovalRequest:
        call = repr((tool_name, *args))
        if call not in self.known:
            self.known[call] = await super().request_approval(tool_name, *args, **facts)
        return self.known[call]

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        self._asked[approval_id].waited_for = False
        return await super().wait_for_decision(approval_id, timeout)


# --- the answer -------------------------------------------------------------------------------------


@caught_by("answer_decides")
class LeavesTheStatusOpen(Desk):
    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        return replace(await super().wait_for_decision(approval_id, timeout), status=ApprovalStatus.PENDING)


@caught_by("answer_decides", "guard_asks_and_obeys")
class ApprovesAll(Desk):
    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        await super().wait_for_decision(approval_id, timeout)
        return granted()


@caught_by("answer_decides")
class AnswersWithABool(Desk):
    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> Any:
        return (await super().wait_for_decision(approval_id, timeout)).approved


@caught_by("answer_before_anybody_waits_is_not_lost")
class HearsOnlyWhileItWaits(Desk):
    patience = 0.5

    def answer(self, approval_id: str, answer: Any = "approved") -> bool:
        waited_for = any(known == approval_id for known, _ in self.waits)
        return waited_for and super().answer(approval_id, answer)


@caught_by("answer_approves_one_request_only")
class ApprovesTheSameCallAgain(Desk):
    def answer(self, approval_id: str, answer: Any = "approved") -> bool:
        this = next(request for request in self.requests if request.approval_id == approval_id)
        same = [request for request in self.requests if request.tool_args == this.tool_args]
        for request in same:
            super().answer(request.approval_id, answer)
        return True


@caught_by("answers_reach_the_requests_that_they_are_for")
class AnswersTheOldestRequest(Desk):
    def answer(self, approval_id: str, answer: Any = "approved") -> bool:
        return any(super(AnswersTheOldestRequest, self).answer(other, answer) for other in self._asked)


@caught_by("answers_reach_the_requests_that_they_are_for")
class AnswersTheNewestRequest(Desk):
    def answer(self, approval_id: str, answer: Any = "approved") -> bool:
        return any(super(AnswersTheNewestRequest, self).answer(other, answer) for other in reversed(self._asked))


@caught_by("answers_reach_the_threads_that_they_are_for")
class BelongsToOneLoop(Desk):
    loop: asyncio.AbstractEventLoop | None = None

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        running = asyncio.get_running_loop()
        self.loop = self.loop or running
        if self.loop is not running:
            raise RuntimeError("attached to a different loop")
        return await super().wait_for_decision(approval_id, timeout)


# --- no answer --------------------------------------------------------------------------------------


@caught_by("wait_that_runs_out_is_a_timeout", "late_answer_counts_for_nothing")
class RaisesWhenTimeIsOver(Desk):
    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        decision = await super().wait_for_decision(approval_id, timeout)
        if decision.status is ApprovalStatus.TIMEOUT:
            raise TimeoutError
        return decision


@caught_by("wait_that_runs_out_is_a_timeout")
class SilenceIsConsent(Desk):
    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        decision = await super().wait_for_decision(approval_id, timeout)
        return replace(decision, approved=decision.approved or decision.status is ApprovalStatus.TIMEOUT)


@caught_by("wait_that_runs_out_is_a_timeout")
class SilenceIsADenial(Desk):
    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        decision = await super().wait_for_decision(approval_id, timeout)
        return replace(decision, status=ApprovalStatus.APPROVED if decision.approved else ApprovalStatus.DENIED)


@caught_by("wait_without_a_time_takes_that_of_the_request")
class WaitsForEver(Desk):
    patience = 0.5

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        return await super().wait_for_decision(approval_id, 600 if timeout is None else timeout)


@caught_by("late_answer_counts_for_nothing")
class KeepsLateAnswers(Desk):
    """
    One line of input: what comes late lies there for the next one who asks.
    """

    late = False

    def answer(self, approval_id: str, answer: Any = "approved") -> bool:
        in_time = super().answer(approval_id, answer)
        self.late = not in_time
        return in_time

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        return granted() if self.late else await super().wait_for_decision(approval_id, timeout)


@caught_by("cancelled_wait_ends_and_the_next_request_is_served")
class TurnsCancellationIntoADenial(Desk):
    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        try:
            return await super().wait_for_decision(approval_id, timeout)
        except asyncio.CancelledError:
            return unanswered()


@caught_by("cancelled_wait_ends_and_the_next_request_is_served")
class KeepsTheDeskOccupied(Desk):
    patience = 0.5
    free: asyncio.Event | None = None

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        if self.free is not None:
            await self.free.wait()
        self.free = asyncio.Event()
        decision = await super().wait_for_decision(approval_id, timeout)
        self.free.set()
        return decision


@caught_by("unknown_id_raises")
class UnknownIdsRunOut(Desk):
    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        known = approval_id in self._asked
        return await super().wait_for_decision(approval_id, timeout) if known else unanswered()


@caught_by("unknown_id_raises")
class CutsIds(Desk):
    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        return await super().wait_for_decision(approval_id.rstrip("x"), timeout)


# --- trouble ----------------------------------------------------------------------------------------


@caught_by("backend_that_can_ask_nobody_raises")
class RunsOutWhenItCanAskNobody(Desk):
    async def request_approval(self, *args: Any, **facts: Any) -> ApprovalRequest:
        return await AutoApprovalBackend.request_approval(self, *args, **facts)

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        return unanswered() if self.broken else await super().wait_for_decision(approval_id, timeout)


@caught_by("backend_that_can_ask_nobody_raises")
class StaysBroken(Desk):
    failed = False

    async def request_approval(self, *args: Any, **facts: Any) -> ApprovalRequest:
        self.failed = self.broken = self.failed or self.broken
        return await super().request_approval(*args, **facts)

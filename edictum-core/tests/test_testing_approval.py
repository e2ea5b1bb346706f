"""
Approvals from a script.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from edictum import ApprovalBackend, ApprovalDecision, ApprovalStatus, EdictumDenied, Principal
from edictum.testing import AutoApprovalBackend, ScriptedApprovalBackend
from edictum.testing.running import at_once, in_threads
from guards import actions, ask, denied, events_of, guard_of, run


async def asked(backend: ApprovalBackend, tool: str = "read", **facts: Any) -> ApprovalDecision:
    request = await backend.request_approval(tool, {}, "may it?", **facts)
    return await backend.wait_for_decision(request.approval_id)


def outcome(decision: ApprovalDecision) -> tuple[bool, str, str | None]:
    return decision.approved, str(decision.status), decision.approver


def all_of(*coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.wait_for(asyncio.gather(*coroutines, return_exceptions=True), 60)

    return asyncio.run(main())


# --- the script -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("approved", (True, "approved", "script")),
        (ApprovalStatus.APPROVED, (True, "approved", "script")),
        ("denied", (False, "denied", "script")),
        ("timeout", (False, "timeout", None)),
        (denied("bob"), (False, "denied", "bob")),
    ],
)
def test_script_answer_is_given_without_a_wait(answer: Any, expected: tuple[bool, str, str | None]) -> None:
    assert expected == outcome(asyncio.run(asked(ScriptedApprovalBackend([answer]))))


@pytest.mark.parametrize(("action", "approved"), [("block", False), ("allow", True)])
def test_script_timeout_follows_the_timeout_action(action: str, approved: bool) -> None:
    decision = asyncio.run(asked(ScriptedApprovalBackend(["timeout"]), timeout_action=action))

    assert (approved, "timeout", None) == outcome(decision)


def test_script_answers_belong_to_the_requests_in_their_order_whoever_waits_first() -> None:
    backend = ScriptedApprovalBackend(["approved", "denied", "approved"])

    async def main() -> list[str]:
        requests = [await backend.request_approval("tool", {"n": n}, "?") for n in range(3)]
        decisions = [await backend.wait_for_decision(request.approval_id) for request in reversed(requests)]
        return [str(decision.status) for decision in decisions]

    assert asyncio.run(main()) == ["approved", "denied", "approved"]
    assert [request.tool_args["n"] for request in backend.requests] == [0, 1, 2]


def test_script_exception_is_raised_to_the_caller_that_waits() -> None:
    error = ConnectionError("chat is down")
    backend = ScriptedApprovalBackend([error])

    with pytest.raises(ConnectionError) as caught:
        asyncio.run(asked(backend))
    assert error is caught.value
    assert len(backend.requests) == 1


def test_script_without_an_answer_blocks_the_call() -> None:
    guard = guard_of(ask(), approval_backend=ScriptedApprovalBackend(["approved"]))

    assert run(guard) == "done"
    with pytest.raises(EdictumDenied) as caught:
        run(guard)
    assert caught.value.decision_source == "approval_error"
    assert "this is request 2" in str(events_of(guard)[-1].metadata)


@pytest.mark.parametrize("answer", ["yes", "", True, None])
def test_script_that_says_no_answer_is_refused(answer: Any) -> None:
    for make in (lambda: ScriptedApprovalBackend(["approved", answer]), lambda: AutoApprovalBackend(answer)):
        with pytest.raises(ValueError, match="is no answer; give an ApprovalDecision"):
            make()


def test_script_notes_requests_and_waits() -> None:
    backend = ScriptedApprovalBackend(["approved"] * 2)
    facts: dict[str, Any] = {
        "timeout": 7,
        "timeout_action": "allow",
        "principal": Principal("ann"),
        "metadata": {"rules": ["a"]},
        "session_id": "s",
    }
    at_once(backend.request_approval("tool", {"a": 1}, "why", **facts))
    at_once(backend.request_approval("tool", {"a": 1}, "why"))
    asyncio.run(backend.wait_for_decision("approval-1", timeout=3))

    first, second = backend.requests
    assert {name: getattr(first, name) for name in facts} == facts
    assert (first.tool_name, first.tool_args, first.message) == ("tool", {"a": 1}, "why")
    assert (second.metadata, second.session_id) == ({}, None)
    assert [request.approval_id for request in backend.requests] == ["approval-1", "approval-2"]
    assert backend.waits == [("approval-1", 3)]


def test_script_id_unknown_or_waited_for_before_is_refused() -> None:
    backend = ScriptedApprovalBackend(["approved"])
    at_once(backend.request_approval("tool", {}, "why"))
    asyncio.run(backend.wait_for_decision("approval-1"))

    for approval_id in ("approval-1", "approval-2"):
        with pytest.raises(ValueError, match=f"{approval_id}' is unknown here, or was already waited for"):
            asyncio.run(backend.wait_for_decision(approval_id))
    with pytest.raises(ValueError, match="unknown here"):
        backend.answer("approval-2")


def test_script_meanwhile_happens_between_request_and_answer() -> None:
    seen: list[int] = []

    async def meanwhile() -> None:
        seen.append(len(backend.requests))

    backend = AutoApprovalBackend(meanwhile=meanwhile)
    asyncio.run(asked(backend))

    assert seen == [1]


def test_auto_approval_gives_the_same_answer_to_all() -> None:
    for answer, expected in (("approved", (True, "approved", "auto")), ("denied", (False, "denied", "auto"))):
        backend = AutoApprovalBackend(answer)
        found = all_of(asked(backend), asked(backend), asked(backend))
        assert [expected] * 3 == [outcome(decision) for decision in found]


# --- pending requests -------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "expected"), [("approved", True), ("denied", False)])
@pytest.mark.parametrize("before", [True, False], ids=["before the wait", "during the wait"])
def test_pending_request_gets_the_answer_of_a_person(answer: str, expected: bool, before: bool) -> None:
    backend = ScriptedApprovalBackend(["pending"])

    async def main() -> ApprovalDecision:
        request = await backend.request_approval("tool", {}, "why", timeout=60)
        if before:
            assert backend.answer(request.approval_id, answer)
        waiting = asyncio.create_task(backend.wait_for_decision(request.approval_id))
        if not before:
            await asyncio.sleep(0)
            assert not waiting.done()
            assert backend.answer(request.approval_id, answer)
        return await waiting

    assert (expected, answer, "script") == outcome(asyncio.run(main()))


def test_pending_request_answered_from_another_thread_wakes_its_caller() -> None:
    backend = AutoApprovalBackend("pending")

    def work() -> bool:
        async def main() -> bool:
            request = await backend.request_approval("tool", {}, "why", timeout=60)
            answer = asyncio.to_thread(backend.answer, request.approval_id, "approved")
            decision, counts = await asyncio.gather(backend.wait_for_decision(request.approval_id), answer)
            return decision.approved and counts

        return asyncio.run(main())

    assert in_threads(6, work) == [True] * 6


@pytest.mark.parametrize(("timeout", "wait"), [(0.01, None), (60, 0.01), (60, 0)])
def test_pending_request_ends_with_its_time_and_a_late_answer_does_not_count(timeout: float, wait: float) -> None:
    backend = ScriptedApprovalBackend(["pending"])

    async def main() -> ApprovalDecision:
        request = await backend.request_approval("tool", {}, "why", timeout=timeout)
        return await backend.wait_for_decision(request.approval_id, timeout=wait)

    assert outcome(asyncio.run(main())) == (False, "timeout", None)
    assert not backend.answer("approval-1", "approved")


def test_pending_request_is_answered_once() -> None:
    backend = ScriptedApprovalBackend(["pending", "denied"])
    for _ in range(2):
        at_once(backend.request_approval("tool", {}, "why"))

    assert [backend.answer("approval-1", "denied"), backend.answer("approval-1"), backend.answer("approval-2")] == [
        True,
        False,
        False,
    ]
    assert asyncio.run(backend.wait_for_decision("approval-1")).approved is False
    with pytest.raises(ValueError, match="'pending' is no answer"):
        backend.answer("approval-1", "pending")


def test_pending_request_of_a_cancelled_caller_takes_no_answer() -> None:
    backend = AutoApprovalBackend("pending")
    guard = guard_of(ask(), approval_backend=backend)

    async def main() -> None:
        task = asyncio.create_task(guard.run("read", {}, lambda: "done"))
        while not backend.waits:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not backend.answer("approval-1")
    assert actions(guard) == ["call_approval_requested"]


def test_pending_request_whose_loop_is_gone_can_be_answered() -> None:
    """
    The answer of a person must not fail because the program that asked has ended.
    """
    backend = ScriptedApprovalBackend(["pending"])
    loop = asyncio.new_event_loop()

    async def main() -> None:
        await backend.request_approval("tool", {}, "why")
        task = loop.create_task(backend.wait_for_decision("approval-1"))
        await asyncio.sleep(0)
        waiting.append(task)

    waiting: list[asyncio.Task[ApprovalDecision]] = []
    loop.run_until_complete(main())
    loop.close()

    assert backend.answer("approval-1")
    waiting[0]._log_destroy_pending = False  # type: ignore[attr-defined]  # its loop will never end it

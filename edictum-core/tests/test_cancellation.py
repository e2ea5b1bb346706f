"""
A call cancelled at every step of the event loop.
"""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from backends import PlainBackend
from edictum import AuditEvent, Decision, HookDecision, HookRegistration, OperationLimits, Session, postcondition
from edictum.testing import AutoApprovalBackend
from guards import ask, granted, guard_of

pytestmark = pytest.mark.fault

# Events after which a tool may run.
DECIDED = ("call_allowed", "call_approval_granted")


class SlowSink:
    async def emit(self, event: AuditEvent) -> None:
        await asyncio.sleep(0)


async def slow_hook(*facts: object) -> HookDecision:
    await asyncio.sleep(0)
    return HookDecision.allow()


@postcondition("*")
async def slow_rule(call: object, result: object) -> Decision:
    await asyncio.sleep(0)
    return Decision.pass_()


HOOKS = [HookRegistration("before", "*", slow_hook), HookRegistration("after", "*", slow_hook)]


def cancelled_after(steps: int, call: str, foreign: bool) -> tuple[bool, list[bool], list[str], dict[str, int]]:
    """
    Cancel a call after some steps of the loop.

    Returns:
        Whether it was cancelled, whether a decision was logged when the tool began (empty if it never did), the
        events, and the session's counters.
    """

    async def tool(call: str) -> str:
        started.append(any(event.action in DECIDED for event in guard.local_sink.events))
        await asyncio.sleep(0)
        return "done"

    async def main() -> tuple[bool, dict[str, int]]:
        task = asyncio.create_task(guard.run("read", {"call": call}, tool, session_id="s"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        counters = await Session("s", backend).batch_get_counters(include_tool="read")
        return isinstance(outcome, asyncio.CancelledError), counters

    started: list[bool] = []
    backend = PlainBackend(yields=True)
    approvals = AutoApprovalBackend(granted(), meanwhile=lambda: asyncio.sleep(0))
    rule = ask(when={"args.call": {"equals": "asked"}})
    limits = OperationLimits(max_calls_per_tool={"re*": 5})
    guard = guard_of(
        rule,
        backend=backend,
        approval_backend=approvals,
        audit_sink=SlowSink(),
        limits=limits,
        hooks=HOOKS if foreign else [],
        rules=[slow_rule] if foreign else [],
    )
    cancelled, counters = asyncio.run(main())
    return cancelled, started, [str(event.action) for event in guard.local_sink.events], counters


def all_cancellations(call: str, *, foreign: bool = True) -> list[tuple[list[bool], list[str], dict[str, int]]]:
    found: list[tuple[list[bool], list[str], dict[str, int]]] = []
    for steps in count():
        cancelled, started, events, counters = cancelled_after(steps, call, foreign)
        if not cancelled:
            assert len(found) > 10
            return found
        found.append((started, events, counters))
    raise AssertionError


@pytest.mark.parametrize("call", ["allowed", "asked"])
def test_cancelled_call_never_runs_undecided_and_never_twice(call: str) -> None:
    for started, events, _ in all_cancellations(call):
        assert started in ([], [True])
        assert len([action for action in events if action in DECIDED]) <= 1


@pytest.mark.parametrize("call", ["allowed", "asked"])
def test_cancelled_call_whose_tool_never_began_gives_its_place_back(call: str) -> None:
    for started, _, counters in all_cancellations(call):
        if not started:
            assert (counters["execs"], counters["tool:read"]) == (0, 0)


@pytest.mark.parametrize("call", ["allowed", "asked"])
@pytest.mark.parametrize(
    "foreign",
    [
        False,
        True,
    ],
    ids=["plain", "hooks and rules"],
)
def test_cancelled_call_whose_tool_began_logs_how_it_ended(foreign: bool, call: str) -> None:
    for started, events, counters in all_cancellations(call, foreign=foreign):
        if started:
            assert events[-1] in ("call_failed", "call_executed")
            assert (counters["execs"], counters["tool:read"]) == (1, 1)

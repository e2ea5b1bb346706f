"""
Many calls at once: limits stay exact, rulesets are never mixed, and one guard serves several loops and threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from backends import PlainBackend
from edictum import (
    AuditEvent,
    Edictum,
    EdictumDenied,
    EdictumToolError,
    MemoryBackend,
    OperationLimits,
    Session,
    StorageBackend,
)
from edictum.testing import AutoApprovalBackend
from edictum.testing.running import in_threads
from guards import ask, granted, guard_of

Make = Callable[[], StorageBackend]


class YieldingMemory(MemoryBackend):
    """
    A subclass whose increment lets others run, so that nothing of it can be used at once.
    """

    async def increment(self, key: str, amount: float = 1) -> float:
        await asyncio.sleep(0)
        return await super().increment(key, amount)


each_backend = pytest.mark.parametrize(
    "make", [MemoryBackend, lambda: PlainBackend(yields=True), YieldingMemory], ids=["memory", "plain", "subclass"]
)
each_limit = pytest.mark.parametrize(
    "limits",
    [
        OperationLimits(max_tool_calls=10),
        OperationLimits(max_calls_per_tool={"read": 10}),
        OperationLimits(max_calls_per_tool={"r*": 10}),
        OperationLimits(max_attempts=10),
    ],
    ids=["calls", "tool", "glob", "attempts"],
)


class Counting:
    """
    A tool that notes how often it ran, in whatever thread.
    """

    def __init__(self) -> None:
        self.runs = 0
        self._lock = threading.Lock()

    def __call__(self, **args: Any) -> int:
        with self._lock:
            self.runs += 1
            return self.runs

    async def slowly(self, **args: Any) -> int:
        await asyncio.sleep(0)
        return self()


async def attempt(guard: Edictum, tool: Callable[..., Any], **fields: Any) -> bool:
    try:
        await guard.run("read", {}, tool, **fields)
    except EdictumDenied:
        return False
    return True


async def attempts(guard: Edictum, tool: Callable[..., Any], number: int) -> int:
    """
    How many of so many parallel calls were allowed.
    """
    return sum(await asyncio.gather(*(attempt(guard, tool, session_id="s") for _ in range(number))))


def decisions(guard: Edictum) -> dict[str, list[AuditEvent]]:
    """
    The events that decide, by call.
    """
    found: dict[str, list[AuditEvent]] = defaultdict(list)
    for event in guard.local_sink.events:
        if event.action in ("call_allowed", "call_denied"):
            found[event.call_id].append(event)
    return found


# --- limits ---------------------------------------------------------------------------------------


@each_backend
@each_limit
def test_limit_of_10_under_100_parallel_calls_runs_exactly_10(make: Make, limits: OperationLimits) -> None:
    guard, tool = Edictum(backend=make(), limits=limits), Counting()

    assert asyncio.run(attempts(guard, tool.slowly, 100)) == 10 == tool.runs
    found = decisions(guard)
    assert (100, {1}) == (len(found), {len(events) for events in found.values()})


@each_backend
@each_limit
def test_limit_of_10_under_16_threads_runs_exactly_10(make: Make, limits: OperationLimits) -> None:
    guard, tool = Edictum(backend=make(), limits=limits), Counting()

    def work() -> int:
        allowed = 0
        for _ in range(5):
            try:
                guard.run_sync("read", {}, tool, session_id="s")
            except EdictumDenied:
                continue
            allowed += 1
        return allowed

    assert sum(in_threads(16, work)) == 10 == tool.runs
    found = decisions(guard)
    assert (80, {1}) == (len(found), {len(events) for events in found.values()})


@each_backend
def test_limit_over_event_loops_in_several_threads_runs_exactly_10(make: Make) -> None:
    guard, tool = Edictum(backend=make(), limits=OperationLimits(max_tool_calls=10)), Counting()

    found = in_threads(6, lambda: asyncio.run(attempts(guard, tool.slowly, 20)))

    assert sum(found) == 10 == tool.runs


@each_backend
def test_limits_of_sessions_in_parallel_are_their_own(make: Make) -> None:
    guard = Edictum(backend=make(), limits=OperationLimits(max_tool_calls=3))
    tools = {f"s{number}": Counting() for number in range(10)}

    async def main() -> None:
        await asyncio.gather(
            *(attempt(guard, tool.slowly, session_id=name) for name, tool in tools.items() for _ in range(8))
        )

    asyncio.run(main())
    assert [tool.runs for tool in tools.values()] == [3] * 10


@each_backend
def test_limit_under_parallel_approvals_runs_exactly_2(make: Make) -> None:
    """
    All calls pass the first check and wait for a person together.
    """
    arrived = 0

    async def until_all_wait() -> None:
        nonlocal arrived
        arrived += 1
        while arrived < 12:
            await asyncio.sleep(0)

    backend = AutoApprovalBackend(granted(), meanwhile=until_all_wait)
    guard = guard_of(ask(), backend=make(), limits=OperationLimits(max_tool_calls=2), approval_backend=backend)
    tool = Counting()

    assert asyncio.run(attempts(guard, tool.slowly, 12)) == 2 == tool.runs


@each_backend
def test_reservation_that_is_released_can_be_used_by_another(make: Make) -> None:
    guard = Edictum(backend=make(), limits=OperationLimits(max_tool_calls=1))

    async def main() -> list[bool]:
        found = []
        for end in ("abandon", "abandon", "finish"):
            call = guard.govern("read", {}, session_id="s")
            await call.begin()
            found.append(await attempt(guard, lambda: 1, session_id="s"))
            await (call.abandon() if end == "abandon" else call.finish(1))
        found.append(await attempt(guard, lambda: 1, session_id="s"))
        return found

    assert asyncio.run(main()) == [False, False, False, False]


@each_backend
def test_reservation_of_a_tool_that_runs_is_counted_before_it_ends(make: Make) -> None:
    backend = make()
    guard = Edictum(backend=backend)

    async def tool() -> dict[str, int]:
        return await Session("s", backend).batch_get_counters(include_tool="read")

    found = asyncio.run(guard.run("read", {}, tool, session_id="s"))
    assert found == {"attempts": 1, "execs": 1, "tool:read": 1}


# --- one guard for all ----------------------------------------------------------------------------


@each_backend
def test_guard_used_from_several_loops_and_threads_at_once_loses_nothing(make: Make) -> None:
    guard = Edictum(backend=make(), limits=OperationLimits(max_attempts=10_000, max_tool_calls=10_000))
    tool = Counting()

    def work() -> int:
        mine = asyncio.run(attempts(guard, tool.slowly, 20))
        for _ in range(10):
            guard.run_sync("read", {}, tool, session_id="s")
            guard.run_sync("read", {}, tool.slowly, session_id="s")
        return mine

    assert in_threads(6, work) == [20] * 6
    assert tool.runs == 240
    counters = asyncio.run(guard.session("s").counters("read"))
    assert counters == {"attempts": 240, "execs": 240, "tool:read": 240}
    assert len(guard.local_sink.events) == 480


def test_run_sync_inside_a_running_loop_works() -> None:
    guard = Edictum(backend=PlainBackend(yields=True))

    async def main() -> Any:
        return guard.run_sync("read", {}, lambda: "done")

    assert asyncio.run(main()) == "done"


@pytest.mark.parametrize("approval_backend", [None, AutoApprovalBackend(granted())], ids=["plain", "asked"])
def test_args_changed_by_another_task_while_storage_waits_block(approval_backend: AutoApprovalBackend | None) -> None:
    rules = [ask()] if approval_backend else []
    guard = guard_of(*rules, backend=PlainBackend(yields=True), approval_backend=approval_backend)
    args = {"paths": ["a"]}
    tool = Counting()

    async def main() -> str | None:
        task = asyncio.create_task(guard.run("read", args, tool))
        await asyncio.sleep(0)
        args["paths"].append("/etc/passwd")
        with pytest.raises(EdictumDenied) as caught:
            await task
        return caught.value.decision_source

    assert asyncio.run(main()) == "args_changed"
    assert tool.runs == 0


def test_failures_in_parallel_are_all_counted() -> None:
    guard = Edictum(backend=PlainBackend(yields=True))

    async def tool() -> None:
        await asyncio.sleep(0)
        raise OSError("disk")

    async def main() -> int:
        calls = (guard.run("read", {}, tool, session_id="s") for _ in range(30))
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert {EdictumToolError} == {type(error) for error in found}
        return await Session("s", guard.backend).consecutive_failures()

    assert asyncio.run(main()) == 30

"""
Many calls at once: limits stay exact, rulesets are never mixed, and one guard serves several loops and threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from guards import Approvals, ask, granted, guard_of, pre, ruleset

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


def in_threads(number: int, work: Callable[[], Any]) -> list[Any]:
    """
    What the same work gives in so many threads that begin together.
    """
    barrier = threading.Barrier(number)

    def begin() -> Any:
        barrier.wait(60)
        return work()

    with ThreadPoolExecutor(number) as pool:
        return [future.result(60) for future in [pool.submit(begin) for _ in range(number)]]


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
    assert [3] * 10 == [tool.runs for tool in tools.values()]


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

    backend = Approvals(granted(), meanwhile=until_all_wait)
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

    assert [False, False, False, False] == asyncio.run(main())


@each_backend
def test_reservation_of_a_tool_that_runs_is_counted_before_it_ends(make: Make) -> None:
    backend = make()
    guard = Edictum(backend=backend)

    async def tool() -> dict[str, int]:
        return await Session("s", backend).batch_get_counters(include_tool="read")

    found = asyncio.run(guard.run("read", {}, tool, session_id="s"))
    assert {"attempts": 1, "execs": 1, "tool:read": 1} == found


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

    assert [20] * 6 == in_threads(6, work)
    assert tool.runs == 240
    counters = asyncio.run(guard.session("s").counters("read"))
    assert {"attempts": 240, "execs": 240, "tool:read": 240} == counters
    assert len(guard.local_sink.events) == 480


def test_run_sync_inside_a_running_loop_works() -> None:
    guard = Edictum(backend=PlainBackend(yields=True))

    async def main() -> Any:
        return guard.run_sync("read", {}, lambda: "done")

    assert asyncio.run(main()) == "done"


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


# --- reload ---------------------------------------------------------------------------------------


def versioned(letter: str) -> dict[str, Any]:
    """
    A ruleset whose two rules block half of the calls each: the version can be read off every decision.
    """
    odd, even = (f"{letter}-{name}" for name in ("first", "second"))
    return ruleset(
        pre(odd, when={"args.number": {"lt": 0}}, message=f"{letter} blocks"),
        pre(even, when={"args.number": {"gt": 0}}, message=f"{letter} blocks"),
        {
            "id": f"{letter}-post", "type": "post", "tool": "*", "when": {"output.text": {"contains": "done"}},
            "then": {"action": "warn", "message": letter},
        },
    )  # fmt: skip


@pytest.mark.parametrize("threads", [False, True], ids=["tasks", "threads"])
def test_reload_during_1000_calls_never_mixes_two_rulesets(threads: bool) -> None:
    limits = OperationLimits(max_attempts=10_000, max_tool_calls=10_000)
    guard = Edictum.from_bundle_dict(versioned("a"), backend=PlainBackend(yields=True), limits=limits)
    versions = {Edictum.from_bundle_dict(versioned(letter)).policy_version: letter for letter in "ab"}
    reasons: dict[str, str] = {}

    async def one(number: int, session_id: str) -> None:
        call = guard.govern("read", {"number": number % 2}, session_id=session_id)
        try:
            await call.begin()
        except EdictumDenied as denied:
            reasons[call.call.call_id] = denied.reason
            return
        await asyncio.sleep(0)
        await call.finish("done")

    async def worker(session_id: str, number: int, *, reloads: bool) -> None:
        """
        Calls one after the other; the worker that reloads sees both rulesets for certain.
        """
        for at in range(number):
            if reloads:
                await guard.reload(versioned("ba"[at % 2]))
            await one(at // 2, session_id)

    async def workers(number: int) -> None:
        await asyncio.gather(*(worker(f"s{at}", 20, reloads=at == 0) for at in range(number)))

    if threads:
        in_threads(5, lambda: asyncio.run(workers(10)))
    else:
        asyncio.run(workers(50))

    calls: dict[str, list[AuditEvent]] = defaultdict(list)
    for event in guard.local_sink.events:
        calls[event.call_id].append(event)
    assert len(calls) == 1_000
    assert {"a", "b"} == {versions[event.policy_version] for (event, *_) in calls.values()}
    for call_id, events in calls.items():
        (version,) = {event.policy_version for event in events}
        letter = versions[version]
        rules = {record["name"][0] for event in events for record in event.contracts_evaluated}
        assert {letter} == rules
        expected = ["call_denied"] if call_id in reasons else ["call_allowed", "call_executed"]
        assert expected == [str(event.action) for event in events]
        assert {f"{letter} blocks"} == {
            reasons.get(call_id) or f"{letter} blocks",
            events[0].reason or f"{letter} blocks",
        }


def test_reload_while_a_tool_runs_judges_its_result_by_the_old_ruleset() -> None:
    guard = Edictum.from_bundle_dict(versioned("a"))
    old = guard.policy_version

    async def tool(number: int) -> str:
        await guard.reload(versioned("b"))
        return "done"

    asyncio.run(guard.run("read", {"number": 0}, tool))

    assert {old} == {event.policy_version for event in guard.local_sink.events}
    assert ["a-post"] == [record["name"] for record in guard.local_sink.last().contracts_evaluated]
    assert old != guard.policy_version


def test_reload_of_a_broken_ruleset_during_calls_changes_nothing() -> None:
    guard = Edictum.from_bundle_dict(versioned("a"), backend=PlainBackend(yields=True))

    async def main() -> tuple[Any, ...]:
        calls = (attempt_number(guard, number % 2) for number in range(40))
        return tuple(await asyncio.gather(guard.reload({"kind": "Nonsense"}), *calls, return_exceptions=True))

    failed, *allowed = asyncio.run(main())
    assert isinstance(failed, Exception)
    assert [True, False] * 20 == allowed


async def attempt_number(guard: Edictum, number: int) -> bool:
    try:
        await guard.run("read", {"number": number}, lambda number: "done")
    except EdictumDenied:
        return False
    return True

"""
The steps of a call for programs that run the tool themselves, and what happens when they are misused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from edictum import (
    CheckPipeline,
    Decision,
    EdictumDenied,
    EdictumToolError,
    GovernedCall,
    HookRegistration,
    MemoryBackend,
    OperationLimits,
    Session,
    create_tool_call,
    precondition,
)
from edictum.testing import AutoApprovalBackend, ManualClock
from guards import actions, ask, events_of, guard_of, post, pre, ruleset


def test_governed_call_begin_then_finish_judges_and_logs() -> None:
    async def main() -> None:
        guard = guard_of(post(action="redact"))
        call = guard.govern("read", {"path": "a"}, session_id="s1")
        decision = await call.begin()
        assert (decision.action, call.decision) == ("allow", decision)
        assert call.call is not None
        assert (call.call.tool_name, call.call.args, call.call.run_id) == ("read", {"path": "a"}, "s1")
        assert actions(guard) == ["call_allowed"]
        outcome = await call.finish("hunter2")
        assert (outcome.result, outcome.tool_success, outcome.unwrap()) == ("[REDACTED]", True, "[REDACTED]")
        assert [str(event.action) for event in outcome.events] == actions(guard) == ["call_allowed", "call_executed"]

    asyncio.run(main())


def test_governed_call_finish_with_a_failure_returns_it_and_unwrap_raises() -> None:
    async def main() -> None:
        call = guard_of().govern("read", {})
        await call.begin()
        outcome = await call.finish("error: x")
        assert (outcome.tool_success, outcome.result) == (False, "error: x")
        with pytest.raises(EdictumToolError, match="error: x"):
            outcome.unwrap()

    asyncio.run(main())


def test_governed_call_fail_returns_the_error_to_raise() -> None:
    async def main() -> None:
        guard = guard_of(post(action="redact"))
        call = guard.govern("read", {})
        await call.begin()
        error = await call.fail(OSError("hunter2"))
        assert isinstance(error, EdictumToolError)
        assert error.result == "[REDACTED]"
        assert actions(guard) == ["call_allowed", "call_failed"]

    asyncio.run(main())


def test_governed_call_that_is_blocked_knows_its_call_and_decision() -> None:
    async def main() -> None:
        call = guard_of(pre()).govern("read", {"path": "a"})
        with pytest.raises(EdictumDenied):
            await call.begin()
        assert call.call is not None
        assert call.call.args == {"path": "a"}
        assert (call.decision.action, call.decision.decision_name) == ("block", "no-read")

    asyncio.run(main())


async def begun(call: GovernedCall) -> None:
    await call.begin()


async def blocked(call: GovernedCall) -> None:
    with pytest.raises(EdictumDenied):
        await call.begin()


async def finished(call: GovernedCall) -> None:
    await call.begin()
    await call.finish("done")


async def failed(call: GovernedCall) -> None:
    await call.begin()
    await call.fail(OSError())


async def abandoned(call: GovernedCall) -> None:
    await call.begin()
    await call.abandon()


async def reused(call: GovernedCall) -> None:
    await call.begin()
    await call.reuse("done")


async def untouched(call: GovernedCall) -> None:
    pass


STEPS: dict[str, Callable[[GovernedCall], Any]] = {
    "begin": lambda call: call.begin(),
    "finish": lambda call: call.finish("done"),
    "fail": lambda call: call.fail(OSError()),
    "reuse": lambda call: call.reuse("done"),
    "abandon": lambda call: call.abandon(),
}
MISUSE = [
    (before, step)
    for before in (untouched, begun, blocked, finished, failed, reused, abandoned)
    for step in STEPS
    if (before, step) != (untouched, "begin") and not (before is begun and step != "begin")
]


@pytest.mark.parametrize(("before", "step"), MISUSE)
def test_governed_call_step_out_of_turn_raises_and_changes_nothing(before: Any, step: str) -> None:
    async def main() -> None:
        guard = guard_of(*([pre()] if before is blocked else []))
        call = guard.govern("read", {}, session_id="s1")
        await before(call)
        logged, counted = actions(guard), await guard.session("s1").counters()
        with pytest.raises(RuntimeError, match="this call is"):
            await STEPS[step](call)
        assert (actions(guard), await guard.session("s1").counters()) == (logged, counted)

    asyncio.run(main())


def test_governed_call_with_a_reused_result_is_judged_but_not_counted_or_logged_as_run() -> None:
    async def main() -> None:
        guard = guard_of(post(action="redact"), limits=OperationLimits(max_tool_calls=1))
        for _ in range(3):
            call = guard.govern("read", {}, session_id="s1")
            await call.begin()
            outcome = await call.reuse("it is hunter2")
            assert "hunter2" not in outcome.result
            assert [finding.rule_id for finding in outcome.violations] == ["bad-output"]
        assert actions(guard) == ["call_allowed"] * 3
        assert await guard.session("s1").counters() == {"attempts": 3, "execs": 0}

    asyncio.run(main())


def test_governed_call_with_a_reused_result_and_nothing_to_find_leaves_it_alone() -> None:
    call = guard_of().govern("read", {})
    call.begin_sync()
    result = {"a": [1]}
    outcome = call.reuse_sync(result)
    assert outcome.result is result
    assert (outcome.tool_success, outcome.violations) == (True, ())


def test_governed_call_abandoned_gives_its_place_back() -> None:
    async def main() -> None:
        guard = guard_of(limits=OperationLimits(max_tool_calls=1, max_calls_per_tool={"r*": 1}))
        for _ in range(3):
            call = guard.govern("read", {}, session_id="s1")
            await call.begin()
            await call.abandon()
        assert await guard.session("s1").counters("read") == {"attempts": 3, "execs": 0, "tool:read": 0}
        last = guard.govern("read", {}, session_id="s1")
        await last.begin()
        await last.finish("done")
        assert await guard.session("s1").counters() == {"attempts": 4, "execs": 1}

    asyncio.run(main())


def test_governed_call_holds_its_place_until_it_ends() -> None:
    async def main() -> None:
        guard = guard_of(limits=OperationLimits(max_tool_calls=1))
        first, second = guard.govern("read", {}), guard.govern("read", {})
        await first.begin()
        with pytest.raises(EdictumDenied) as raised:
            await second.begin()
        assert raised.value.decision_name == "max_tool_calls"

    asyncio.run(main())


def test_governed_call_is_judged_by_the_rules_it_was_made_under() -> None:
    async def main() -> None:
        guard = guard_of(post("old", action="redact"))
        version = guard.policy_version
        call = guard.govern("read", {})
        await guard.reload(ruleset(pre()))
        await call.begin()
        assert (await call.finish("hunter2")).result == "[REDACTED]"
        assert {event.policy_version for event in events_of(guard)} == {version}

    asyncio.run(main())


def test_governed_call_may_begin_and_end_on_different_loops() -> None:
    guard = guard_of(limits=OperationLimits(max_tool_calls=1))
    call = guard.govern("read", {})
    asyncio.run(call.begin())
    assert asyncio.run(call.finish("done")).result == "done"


def test_governed_call_cancelled_on_its_way_gives_its_place_back() -> None:
    """
    Cancelled while a sink waits, after the execution was counted and before the tool may run.
    """

    async def main() -> None:
        reached = asyncio.Event()

        class Slow:
            async def emit(self, event: Any) -> None:
                reached.set()
                await asyncio.Event().wait()

        guard = guard_of(audit_sink=Slow())
        call = guard.govern("read", {}, session_id="s1")
        task = asyncio.create_task(call.begin())
        await reached.wait()
        assert await guard.session("s1").counters() == {"attempts": 1, "execs": 1}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await guard.session("s1").counters() == {"attempts": 1, "execs": 0}
        with pytest.raises(RuntimeError):
            await call.finish("done")

    asyncio.run(main())


@pytest.mark.fault
def test_governed_call_whose_outcome_cannot_be_counted_still_ends() -> None:
    class Forgetful(MemoryBackend):
        async def delete(self, key: str) -> None:
            raise ConnectionError("down")

    async def main() -> None:
        guard = guard_of(backend=Forgetful())
        call = guard.govern("read", {}, session_id="s1")
        await call.begin()
        assert (await call.finish("done")).result == "done"
        assert actions(guard) == ["call_allowed", "call_executed"]
        assert await guard.session("s1").counters() == {"attempts": 1, "execs": 1}

    asyncio.run(main())


class Clock(ManualClock):
    """
    A clock that may lose its count of seconds.
    """

    broken = False

    def monotonic(self) -> float:
        if self.broken:
            raise OSError("no clock")
        return super().monotonic()


@pytest.mark.parametrize(("broken", "expected"), [(False, 250), (True, 0)], ids=["measured", "broken clock"])
def test_governed_call_duration_is_the_time_between_begin_and_end(broken: bool, expected: int) -> None:
    async def main() -> None:
        clock = Clock()
        guard = guard_of(clock=clock)
        call = guard.govern("read", {})
        await call.begin()
        clock.advance(0.25)
        clock.broken = broken
        await call.finish("done")
        event = events_of(guard)[-1]
        assert (event.duration_ms, event.timestamp) == (expected, clock.now())

    asyncio.run(main())


# --- the checks alone ------------------------------------------------------------------------------------


def test_pipeline_decides_without_counting_logging_or_asking() -> None:
    async def main() -> None:
        backend = AutoApprovalBackend()
        guard = guard_of(ask(), approval_backend=backend)
        session = Session("s1", guard.backend)
        decision = await CheckPipeline(guard).pre_execute(create_tool_call("read", {}), session)
        assert (decision.action, decision.decision_name) == ("pending_approval", "ask-first")
        assert (decision.approval_timeout, decision.approval_timeout_action) == (300, "block")
        assert (backend.requests, events_of(guard)) == ([], [])
        assert await session.batch_get_counters() == {"attempts": 0, "execs": 0}

    asyncio.run(main())


@pytest.mark.parametrize(("attempts", "action"), [(1, "allow"), (2, "block")])
def test_pipeline_compares_stored_attempts_with_the_limit(attempts: int, action: str) -> None:
    async def main() -> None:
        guard = guard_of(limits=OperationLimits(max_attempts=2))
        session = Session("s1", guard.backend)
        for _ in range(attempts):
            await session.increment_attempts()
        decision = await CheckPipeline(guard).pre_execute(create_tool_call("read", {}), session)
        assert decision.action == action

    asyncio.run(main())


def test_pipeline_post_execute_judges_the_result_and_tells_after_hooks() -> None:
    async def main() -> None:
        told: list[Any] = []
        hook = HookRegistration("after", "read", lambda call, result: told.append(result))
        guard = guard_of(post(action="block"), hooks=[hook], tools={"read": {"side_effect": "pure"}})
        call = create_tool_call("read", {}, registry=guard.tool_registry)
        decision = await CheckPipeline(guard).post_execute(call, "hunter2", True)
        assert (decision.postconditions_passed, decision.output_suppressed) == (False, True)
        assert told == ["hunter2"]

    asyncio.run(main())


def test_pipeline_keeps_the_rules_it_was_made_with() -> None:
    async def main() -> None:
        guard = guard_of(pre())
        pipeline = CheckPipeline(guard)
        await guard.reload(ruleset())
        session = Session("s1", guard.backend)
        call = create_tool_call("read", {})
        assert (await pipeline.pre_execute(call, session)).action == "block"
        assert (await CheckPipeline(guard).pre_execute(call, session)).action == "allow"

    asyncio.run(main())


def test_guard_tells_which_rules_concern_a_call() -> None:
    @precondition("re*")
    def in_python(call: Any) -> Decision:
        return Decision.pass_()

    guard = guard_of(pre("a", tool="read"), pre("b", tool="write"), post("c"), rules=[in_python])
    call = create_tool_call("read", {})
    assert [rule.id for rule in guard.get_preconditions(call)] == ["a", "in_python"]
    assert [rule.id for rule in guard.get_postconditions(call)] == ["c"]
    assert guard.get_session_contracts() == guard.get_observe_preconditions(call) == []

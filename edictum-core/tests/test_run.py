"""
Running tools: how they are called, when they count as failed, and what the agent gets to see.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from edictum import (
    Decision,
    Edictum,
    EdictumDenied,
    EdictumToolError,
    HookRegistration,
    Principal,
    ToolCall,
    postcondition,
)
from guards import AsyncTool, Tool, actions, ask, events_of, guard_of, post, pre, run, session_rule, trace


@pytest.mark.parametrize("kind", [Tool, AsyncTool])
def test_run_calls_the_tool_once_with_its_arguments(kind: type[Tool]) -> None:
    tool = kind({"n": 1})
    assert run(guard_of(), tool, {"path": "a", "lines": [1]}) == {"n": 1}
    assert tool.calls == [{"path": "a", "lines": [1]}]


def test_run_returns_the_very_object_of_the_tool() -> None:
    result = object()
    assert run(guard_of(), Tool(result)) is result


def test_run_awaits_what_a_plain_function_returns() -> None:
    async def late() -> str:
        return "late"

    assert run(guard_of(), lambda: late()) == "late"


@pytest.mark.parametrize("kind", [Tool, AsyncTool])
def test_run_tool_that_raises_keeps_the_cause(kind: type[Tool]) -> None:
    error = OSError("no such file")
    guard = guard_of()
    with pytest.raises(EdictumToolError, match="no such file") as raised:
        run(guard, kind(error))
    assert raised.value.__cause__ is error
    assert raised.value.result == "no such file"
    assert actions(guard) == ["call_allowed", "call_failed"]


@pytest.mark.security
def test_run_tool_that_raises_shows_redacted_text_only() -> None:
    guard = guard_of(post(action="redact"))
    with pytest.raises(EdictumToolError) as raised:
        run(guard, Tool(OSError("login with hunter2 failed")))
    assert (str(raised.value), raised.value.result) == ("login with [REDACTED] failed",) * 2
    assert "hunter2" not in str(events_of(guard)[-1].error)


@pytest.mark.fault
def test_run_tool_whose_error_has_no_text_still_fails_in_the_log() -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    guard = guard_of()
    with pytest.raises(EdictumToolError):
        run(guard, Tool(UnprintableError()))
    assert actions(guard) == ["call_allowed", "call_failed"]


@pytest.mark.parametrize(
    ("result", "success"),
    [
        (None, True),
        ("", True),
        ("fine", True),
        ("error: x", False),
        ("Error: x", False),
        ("FATAL: x", False),
        ("errors: none", True),
        (" error: x", True),
        ("no error: x", True),
        ({"is_error": True}, False),
        ({"is_error": 1}, False),
        ({"is_error": False}, True),
        ({"is_error": None}, True),
        ({"error": "x"}, True),
        ([{"is_error": True}], True),
        (b"error: x", True),
        (0, True),
        (False, True),
    ],
)
def test_run_result_counts_as_failure_as_published(result: Any, success: bool) -> None:
    guard = guard_of()
    if success:
        assert run(guard, Tool(result)) == result
    else:
        with pytest.raises(EdictumToolError) as raised:
            run(guard, Tool(result))
        assert raised.value.result == result
        assert raised.value.__cause__ is None
    assert events_of(guard)[-1].tool_success is success


def test_run_success_check_replaces_the_built_in_test() -> None:
    seen: list[tuple[str, Any]] = []

    def check(tool_name: str, result: Any) -> bool:
        seen.append((tool_name, result))
        return bool(result == "error: but fine")

    guard = guard_of(success_check=check)
    assert run(guard, Tool("error: but fine")) == "error: but fine"
    with pytest.raises(EdictumToolError, match="fine"):
        run(guard, Tool("fine"))
    assert seen == [("read", "error: but fine"), ("read", "fine")]


@pytest.mark.fault
def test_run_result_that_cannot_be_tested_counts_as_failure() -> None:
    class Neither:
        """
        Neither true nor false, like an array of several numbers.
        """

        def __bool__(self) -> bool:
            raise ValueError("ambiguous")

    guard = guard_of()
    with pytest.raises(EdictumToolError):
        run(guard, Tool({"is_error": Neither()}))
    assert actions(guard) == ["call_allowed", "call_failed"]


@pytest.mark.fault
def test_run_success_check_that_raises_counts_as_failure() -> None:
    def check(tool_name: str, result: Any) -> bool:
        raise LookupError("check")

    guard = guard_of(success_check=check)
    with pytest.raises(EdictumToolError, match="text"):
        run(guard, Tool("text"))
    assert actions(guard) == ["call_allowed", "call_failed"]


def test_run_in_thread_leaves_the_loop_free() -> None:
    """
    The tool waits for something that only the loop can do meanwhile.
    """

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = threading.Event()

        def tool() -> str:
            loop.call_soon_threadsafe(done.set)
            return "done" if done.wait(30) else "the loop was held up"

        assert await guard_of().run("read", {}, tool, run_in_thread=True) == "done"
        assert done.is_set()

    asyncio.run(main())


def test_run_in_thread_tool_that_raises_keeps_the_cause() -> None:
    error = OSError("x")
    with pytest.raises(EdictumToolError) as raised:
        run(guard_of(), Tool(error), run_in_thread=True)
    assert raised.value.__cause__ is error


async def cancel_running_tool(guard: Edictum) -> None:
    started = asyncio.Event()

    async def tool() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(guard.run("read", {}, tool, session_id="s1"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_run_cancelled_while_the_tool_runs_logs_a_failure_and_keeps_the_place() -> None:
    async def main() -> None:
        guard = guard_of()
        await cancel_running_tool(guard)
        assert trace(guard)[1:] == [("call_failed", "enforce", None, None)]
        assert (events_of(guard)[1].error, events_of(guard)[1].tool_success) == ("cancelled", False)
        assert await guard.session("s1").counters("read") == {"attempts": 1, "execs": 1, "tool:read": 1}

    asyncio.run(main())


def test_run_cancelled_while_the_tool_runs_calls_no_foreign_code() -> None:
    told: list[Any] = []

    @postcondition("*")
    def judge(call: ToolCall, result: Any) -> Decision:
        told.append(result)
        return Decision.pass_()

    hook = HookRegistration("after", "*", lambda call, result: told.append(result))
    asyncio.run(cancel_running_tool(guard_of(rules=[judge], hooks=[hook])))
    assert told == []


def test_run_interrupted_tool_is_logged_and_raised_as_it_is() -> None:
    guard = guard_of()
    with pytest.raises(KeyboardInterrupt):
        run(guard, Tool(KeyboardInterrupt()))
    assert actions(guard) == ["call_allowed", "call_failed"]


def test_run_call_fields_reach_the_call_and_unknown_ones_block() -> None:
    seen: list[ToolCall] = []
    guard = guard_of(on_allow=seen.append)
    principal = Principal(role="sre")
    run(guard, environment="staging", principal=principal, metadata={"a": [1]}, tool_use_id="t1", caller="agent")
    (call,) = seen
    assert (call.environment, call.principal, call.tool_use_id) == ("staging", principal, "t1")
    assert (call.metadata, call.caller) == ({"a": [1]}, "agent")
    with pytest.raises(EdictumDenied) as raised:
        run(guard, colour="red")
    assert raised.value.decision_source == "invalid_call"


@pytest.mark.fault
def test_run_principal_of_another_type_blocks_and_is_logged() -> None:
    guard = guard_of()
    with pytest.raises(EdictumDenied):
        run(guard, principal="ann")
    assert actions(guard) == ["call_denied"]


def test_run_rules_cannot_be_undone_by_changing_what_was_judged() -> None:
    """
    A callback that writes to the arguments after the decision makes the call a different one.
    """
    args = {"path": "a"}
    tool = Tool()
    guard = guard_of(on_allow=lambda call: args.update(path="/etc/passwd"))
    with pytest.raises(EdictumDenied) as raised:
        run(guard, tool, args)
    assert raised.value.decision_source == "args_changed"
    assert tool.calls == []


def test_run_arguments_that_cannot_be_read_block() -> None:
    cyclic: dict[str, Any] = {}
    cyclic["self"] = cyclic
    guard = guard_of()
    with pytest.raises(EdictumDenied) as raised:
        run(guard, args=cyclic)
    assert trace(guard) == [("call_denied", "enforce", "invalid_call", None)]
    assert raised.value.decision_source == "invalid_call"


# --- sessions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session_id", ["", "a:b", "a/b", "a\nb", "x" * 257])
def test_run_invalid_session_id_is_an_error_of_the_caller(session_id: str) -> None:
    with pytest.raises(ValueError, match="session id"):
        run(guard_of(), session_id=session_id)


def test_run_counts_each_session_for_itself() -> None:
    async def main() -> None:
        guard = guard_of(pre(tool="rm"))
        first, second = guard.session("s1"), guard.session()
        await first.run("read", {}, Tool())
        with pytest.raises(EdictumDenied):
            await first.run("rm", {}, Tool())
        with pytest.raises(EdictumToolError):
            await first.run("read", {}, Tool("error: x"))
        assert await first.counters("read") == {"attempts": 3, "execs": 2, "tool:read": 2}
        assert await second.counters() == {"attempts": 0, "execs": 0}
        assert second.session_id != guard.session().session_id

    asyncio.run(main())


def test_run_in_parallel_never_exceeds_a_limit() -> None:
    async def main() -> list[Any]:
        guard = guard_of(session_rule(limits={"max_tool_calls": 3}))
        return await asyncio.gather(*(guard.run("read", {}, tool) for _ in range(8)), return_exceptions=True)

    tool = AsyncTool()
    outcomes = asyncio.run(main())
    assert outcomes.count("done") == len(tool.calls) == 3
    assert sum(isinstance(outcome, EdictumDenied) for outcome in outcomes) == 5


def test_async_guard_as_context_manager_closes_its_sinks() -> None:
    class Sink:
        closed = 0

        async def emit(self, event: Any) -> None:
            pass

        async def aclose(self) -> None:
            self.closed += 1

    async def main() -> None:
        async with guard_of(ask(mode="observe"), audit_sink=sink) as guard:
            assert await guard.run("read", {}, Tool()) == "done"
            assert sink.closed == 0

    sink = Sink()
    asyncio.run(main())
    assert sink.closed == 1

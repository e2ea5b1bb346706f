"""
Guards for synchronous programs: from any thread, and inside a running event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from edictum import (
    Decision,
    Edictum,
    EdictumDenied,
    EdictumToolError,
    OperationLimits,
    ToolCall,
    precondition,
)
from edictum.memory_storage import MemoryBackend
from edictum.portal import run_in_background
from edictum.testing import AutoApprovalBackend
from guards import AsyncTool, Callbacks, Tool, actions, ask, events_of, guard_of, post, pre

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


class WaitingBackend(MemoryBackend):
    """
    A backend whose methods really wait.
    """

    async def get(self, key: str) -> str | None:
        await asyncio.sleep(0)
        return await super().get(key)

    async def increment(self, key: str, amount: float = 1) -> float:
        await asyncio.sleep(0)
        return await super().increment(key, amount)


@pytest.mark.parametrize("backend", [MemoryBackend, WaitingBackend])
@pytest.mark.parametrize("kind", [Tool, AsyncTool])
def test_run_sync_decides_runs_and_judges(kind: type[Tool], backend: type[MemoryBackend]) -> None:
    told = Callbacks()
    guard = guard_of(pre(tool="write"), post(action="redact"), backend=backend(), **told.options)
    tool = kind("hunter2")
    assert guard.run_sync("read", {"path": "a"}, tool, session_id="s1") == "[REDACTED]"
    with pytest.raises(EdictumDenied):
        guard.run_sync("write", {}, tool)
    assert tool.calls == [{"path": "a"}]
    assert actions(guard) == ["call_allowed", "call_executed", "call_denied"]
    assert told.counts == (1, 1, 0)
    assert guard.session("s1").run_sync("read", {}, Tool()) == "done"
    assert asyncio.run(guard.session("s1").counters()) == {"attempts": 2, "execs": 2}


@pytest.mark.parametrize("kind", [Tool, AsyncTool])
def test_run_sync_tool_that_raises_keeps_the_cause(kind: type[Tool]) -> None:
    error = OSError("x")
    guard = guard_of()
    with pytest.raises(EdictumToolError) as raised:
        guard.run_sync("read", {}, kind(error))
    assert raised.value.__cause__ is error
    assert actions(guard) == ["call_allowed", "call_failed"]


def test_run_sync_interrupted_tool_is_logged_and_raised_as_it_is() -> None:
    guard = guard_of()
    with pytest.raises(KeyboardInterrupt):
        guard.run_sync("read", {}, Tool(KeyboardInterrupt()))
    assert actions(guard) == ["call_allowed", "call_failed"]


def test_run_sync_tool_runs_in_the_calling_thread() -> None:
    assert guard_of().run_sync("read", {}, threading.get_ident) == threading.get_ident()


def test_run_sync_inside_a_running_loop_works() -> None:
    async def main() -> Any:
        guard = guard_of(ask(), backend=WaitingBackend(), approval_backend=AutoApprovalBackend())
        return guard.run_sync("read", {}, AsyncTool("inside"))

    assert asyncio.run(main()) == "inside"


@pytest.mark.parametrize("backend", [MemoryBackend, WaitingBackend])
def test_run_sync_from_many_threads_never_exceeds_a_limit(backend: type[MemoryBackend]) -> None:
    guard = guard_of(limits=OperationLimits(max_tool_calls=10), backend=backend())
    tool = Tool()

    def call(number: int) -> str:
        try:
            return str(guard.run_sync("read", {"number": number}, tool))
        except EdictumDenied as error:
            return str(error.decision_source)

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(call, range(40)))
    assert (outcomes.count("done"), outcomes.count("operation_limit")) == (10, 30)
    assert len(tool.calls) == 10
    assert len(events_of(guard)) == 50


@pytest.mark.parametrize("asynchronous", [False, True])
def test_run_sync_context_variables_are_visible_to_rules_and_tools(asynchronous: bool) -> None:
    seen: list[str] = []

    @precondition("*")
    def note(call: ToolCall) -> Decision:
        seen.append(WHO.get())
        return Decision.pass_()

    @precondition("*")
    async def note_async(call: ToolCall) -> Decision:
        seen.append(WHO.get())
        return Decision.pass_()

    async def late() -> str:
        return WHO.get()

    guard = Edictum(rules=[note_async if asynchronous else note], on_allow=lambda call: seen.append(WHO.get()))
    token = WHO.set("ann")
    try:
        assert guard.run_sync("read", {}, late if asynchronous else WHO.get) == "ann"
    finally:
        WHO.reset(token)
    assert seen == ["ann", "ann"]


def test_run_sync_tool_may_call_run_sync() -> None:
    guard = guard_of(post(), backend=WaitingBackend())
    assert guard.run_sync("read", {}, lambda: guard.run_sync("read", {}, Tool("inner"))) == "inner"


def test_run_sync_callback_may_call_run_sync() -> None:
    inner: list[Any] = []
    other = guard_of(backend=WaitingBackend())
    guard = guard_of(pre(), on_block=lambda *facts: inner.append(other.run_sync("read", {}, Tool("inner"))))
    with pytest.raises(EdictumDenied):
        guard.run_sync("read", {}, Tool())
    assert inner == ["inner"]


def test_run_sync_that_would_wait_for_itself_raises_instead() -> None:
    """
    An asynchronous tool runs on the loop that the inner call would have to wait for.
    """
    other = guard_of(backend=WaitingBackend())

    async def tool() -> Any:
        return other.run_sync("read", {}, Tool())

    with pytest.raises(EdictumToolError, match="asynchronous method"):
        guard_of().run_sync("read", {}, tool)
    assert other.run_sync("read", {}, Tool()) == "done"


def test_run_sync_rule_that_would_wait_for_itself_blocks() -> None:
    other = guard_of(backend=WaitingBackend())

    @precondition("*")
    async def nested(call: ToolCall) -> Decision:
        other.run_sync("read", {}, Tool())
        return Decision.pass_()

    guard = Edictum(rules=[nested])
    with pytest.raises(EdictumDenied) as raised:
        guard.run_sync("read", {}, Tool())
    assert raised.value.decision_name == "nested"
    assert events_of(guard)[0].policy_error is True


def test_background_loop_refuses_to_wait_for_itself() -> None:
    async def inner() -> None:
        pass

    async def outer() -> None:
        run_in_background(inner())

    with pytest.raises(RuntimeError, match="asynchronous method"):
        run_in_background(outer())


def test_run_sync_and_run_share_sessions() -> None:
    guard = guard_of(limits=OperationLimits(max_tool_calls=2))
    guard.run_sync("read", {}, Tool())
    asyncio.run(guard.run("read", {}, Tool()))
    with pytest.raises(EdictumDenied):
        guard.run_sync("read", {}, Tool())

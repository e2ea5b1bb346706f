"""
What may not change between an approval and the act, and approvals that are given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from edictum import (
    Edictum,
    EdictumDenied,
    MemoryBackend,
    OperationLimits,
    Session,
)
from edictum.testing import AutoApprovalBackend
from guards import (
    Callbacks,
    Tool,
    actions,
    ask,
    denial,
    guard_of,
    ruleset,
    run,
    session_rule,
)


def test_approval_of_arguments_that_change_meanwhile_blocks() -> None:
    args = {"path": "harmless"}

    async def swap() -> None:
        args["path"] = "/etc/passwd"

    told = Callbacks()
    guard = guard_of(ask(), approval_backend=AutoApprovalBackend(meanwhile=swap), **told.options)
    assert denial(guard, args=args).decision_source == "args_changed"
    assert actions(guard) == ["call_approval_requested", "call_approval_granted", "call_denied"]
    assert told.counts == (1, 0, 0)


@pytest.mark.security
@pytest.mark.parametrize(("before", "after"), [(1, True), (1, 1.0), ("1", 1), ([1, 2], [2, 1])])
def test_approval_tells_arguments_apart_by_type_and_order(before: Any, after: Any) -> None:
    args = {"value": before}

    async def swap() -> None:
        args["value"] = after

    guard = guard_of(ask(), approval_backend=AutoApprovalBackend(meanwhile=swap))
    assert denial(guard, args=args).decision_source == "args_changed"


def meanwhile_reload(content: dict[str, Any]) -> tuple[Edictum, Callbacks]:
    told = Callbacks()

    def change() -> Awaitable[object]:
        return guard.reload(content)

    guard = guard_of(ask(), approval_backend=AutoApprovalBackend(meanwhile=change), **told.options)
    return guard, told


def test_approval_under_rules_that_are_replaced_meanwhile_blocks() -> None:
    guard, told = meanwhile_reload(ruleset())
    assert denial(guard).decision_source == "policy_changed"
    assert told.counts == (1, 0, 0)
    assert run(guard) == "done"  # under the new rules nobody is asked


def test_approval_under_rules_that_are_reloaded_unchanged_holds() -> None:
    guard, _ = meanwhile_reload(ruleset(ask(), tools={"read": {"side_effect": "read"}}))
    assert run(guard) == "done"


@pytest.mark.parametrize(
    ("rules", "limits", "source"),
    [
        ([ask()], OperationLimits(max_tool_calls=1), "operation_limit"),
        ([ask()], OperationLimits(max_calls_per_tool={"read": 1}), "operation_limit"),
        ([ask(), session_rule()], None, "yaml_session"),
    ],
)
def test_approval_with_limits_used_up_meanwhile_blocks(rules: Any, limits: Any, source: str) -> None:
    storage = MemoryBackend()
    session = Session("s1", storage)

    async def use_up() -> None:
        await session.increment_attempts()
        await session.record_execution("read", True)

    guard = guard_of(*rules, limits=limits, backend=storage, approval_backend=AutoApprovalBackend(meanwhile=use_up))
    tool = Tool()
    with pytest.raises(EdictumDenied) as raised:
        run(guard, tool, session_id="s1")
    assert raised.value.decision_source == source
    assert tool.calls == []
    assert actions(guard)[-1] == "call_denied"


def test_approvals_in_parallel_do_not_exceed_a_limit() -> None:
    async def main() -> list[Any]:
        everybody = asyncio.Barrier(4)
        backend = AutoApprovalBackend(meanwhile=everybody.wait)
        guard = guard_of(ask(), limits=OperationLimits(max_tool_calls=2), approval_backend=backend)
        calls = [guard.run("read", {}, tool) for _ in range(4)]
        return await asyncio.gather(*calls, return_exceptions=True)

    tool = Tool()
    outcomes = asyncio.run(main())
    assert outcomes.count("done") == len(tool.calls) == 2
    assert [type(outcome) for outcome in outcomes if outcome != "done"] == [EdictumDenied] * 2


def test_approval_cancelled_while_waiting_runs_nothing_later() -> None:
    tool = Tool()
    told = Callbacks()

    async def main() -> None:
        waiting, answered = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            waiting.set()
            await answered.wait()

        guard = guard_of(ask(), approval_backend=AutoApprovalBackend(meanwhile=wait), **told.options)
        task = asyncio.create_task(guard.run("read", {}, tool, session_id="s1"))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        answered.set()
        await asyncio.sleep(0)
        assert actions(guard) == ["call_approval_requested"]
        assert await guard.session("s1").counters() == {"attempts": 1, "execs": 0}

    asyncio.run(main())
    assert tool.calls == []
    assert told.counts == (0, 0, 0)

"""
Hooks: Python functions around a tool, outside any ruleset.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import pytest
from edictum import Edictum, EdictumDenied, EdictumToolError, HookDecision, HookRegistration, HookResult, ToolCall
from edictum.testing import AutoApprovalBackend
from guards import Callbacks, Tool, actions, ask, events_of, guard_of, pre, run, trace


def allow(call: ToolCall) -> HookDecision:
    return HookDecision.allow()


def refuse(call: ToolCall) -> HookDecision:
    return HookDecision.block(f"no {call.args['path']}")


async def refuse_async(call: ToolCall) -> HookDecision:
    await asyncio.sleep(0)
    return refuse(call)


@pytest.mark.parametrize("callback", [refuse, refuse_async])
def test_before_hook_that_refuses_blocks(callback: Any) -> None:
    told = Callbacks()
    tool = Tool()
    guard = Edictum(hooks=[HookRegistration("before", "re*", callback)], **told.options)
    with pytest.raises(EdictumDenied, match="no a") as raised:
        run(guard, tool, {"path": "a"})
    name = callback.__name__
    assert (raised.value.decision_source, raised.value.decision_name) == ("hook", name)
    assert trace(guard) == [("call_denied", "enforce", "hook", name)]
    assert events_of(guard)[0].hooks_evaluated == [{"name": name, "result": "block", "reason": "no a"}]
    assert told.counts == (1, 0, 0)
    assert tool.calls == []
    assert run(guard, tool, {"path": "a"}, name="write") == "done"


def test_before_hooks_run_in_order_until_one_refuses_and_before_all_rules() -> None:
    seen: list[str] = []

    def note(name: str, decision: HookDecision) -> HookRegistration:
        def callback(call: ToolCall) -> HookDecision:
            seen.append(name)
            return decision

        callback.__name__ = name
        return HookRegistration("before", "*", callback)

    stop = HookDecision.deny("stop")
    hooks = [note("first", HookDecision.allow()), note("second", stop), note("third", stop)]
    guard = guard_of(pre(), hooks=hooks)
    with pytest.raises(EdictumDenied, match="stop"):
        run(guard)
    assert seen == ["first", "second"]
    event = events_of(guard)[0]
    assert [(record["name"], record["result"]) for record in event.hooks_evaluated] == [
        ("first", "allow"),
        ("second", "block"),
    ]
    assert event.contracts_evaluated == []


def test_before_hook_that_allows_leaves_the_decision_to_the_rules() -> None:
    guard = guard_of(pre(tool="write"), hooks=[HookRegistration("before", "*", allow)])
    assert run(guard) == "done"
    assert events_of(guard)[0].hooks_evaluated == [{"name": "allow", "result": "allow", "reason": None}]
    with pytest.raises(EdictumDenied, match="no-read"):
        run(guard, name="write")


def broken(call: ToolCall) -> HookDecision:
    raise LookupError("hook")


@pytest.mark.fault
@pytest.mark.parametrize("callback", [broken, lambda call: None, lambda call: True, lambda call: "allow", lambda: None])
def test_before_hook_that_gives_no_answer_blocks(callback: Any) -> None:
    tool = Tool()
    guard = Edictum(hooks=[HookRegistration("before", "*", callback)])
    with pytest.raises(EdictumDenied) as raised:
        run(guard, tool)
    assert raised.value.decision_source == "hook"
    (event,) = events_of(guard)
    assert event.policy_error is True
    assert event.hooks_evaluated[0]["error_detail"].startswith(("LookupError", "TypeError"))
    assert tool.calls == []


@pytest.mark.parametrize(
    ("when", "blocked"),
    [(lambda call: True, True), (lambda call: False, False), (lambda call: call.args["absent"], True)],
    ids=["true", "false", "raises"],
)
def test_before_hook_when_says_whether_it_is_asked(when: Any, blocked: bool) -> None:
    guard = Edictum(hooks=[HookRegistration("before", "*", refuse, when=when)])
    if blocked:
        with pytest.raises(EdictumDenied):
            run(guard, args={"path": "a"})
    else:
        assert run(guard, args={"path": "a"}) == "done"


def test_before_hook_in_observe_mode_stops_nothing() -> None:
    guard = Edictum(mode="observe", hooks=[HookRegistration("before", "*", refuse)])
    assert run(guard, args={"path": "a"}) == "done"
    assert trace(guard)[0] == ("call_would_deny", "observe", "hook", "refuse")


def test_before_hook_is_asked_once_for_a_call_that_needs_approval() -> None:
    seen: list[str] = []

    def count(call: ToolCall) -> HookDecision:
        seen.append(call.tool_name)
        return HookDecision.allow()

    run(guard_of(ask(), approval_backend=AutoApprovalBackend(), hooks=[HookRegistration("before", "*", count)]))
    assert seen == ["read"]


@pytest.mark.parametrize("result", ["text", "", None, 0, {"is_error": True}])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_after_hook_is_told_the_raw_result_once(result: Any, asynchronous: bool) -> None:
    told: list[tuple[str, Any]] = []

    def note(call: ToolCall, value: Any) -> None:
        told.append((call.tool_name, value))

    async def note_async(call: ToolCall, value: Any) -> None:
        note(call, value)

    guard = Edictum(hooks=[HookRegistration("after", "re*", note_async if asynchronous else note)])
    for name in ("read", "write"):
        with suppress(EdictumToolError):
            run(guard, Tool(result), name=name)
    assert told == [("read", result)]


def test_after_hook_is_told_the_text_of_an_error() -> None:
    told: list[Any] = []
    guard = Edictum(hooks=[HookRegistration("after", "*", lambda call, value: told.append(value))])
    with pytest.raises(EdictumToolError):
        run(guard, Tool(OSError("no file")))
    assert told == ["no file"]


def test_after_hook_is_not_told_of_a_blocked_call() -> None:
    told: list[Any] = []
    guard = guard_of(pre(), hooks=[HookRegistration("after", "*", lambda call, value: told.append(value))])
    with pytest.raises(EdictumDenied):
        run(guard)
    assert told == []


@pytest.mark.fault
@pytest.mark.parametrize("part", ["callback", "when"])
def test_after_hook_that_raises_is_logged_and_the_next_one_told(part: str, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []

    def raising(*facts: Any) -> Any:
        raise LookupError("hook")

    first = HookRegistration("after", "*", raising, when=raising if part == "when" else None)
    second = HookRegistration("after", "*", lambda call, value: told.append(value))
    guard = Edictum(hooks=[first, second])
    with caplog.at_level(logging.ERROR):
        assert run(guard) == "done"
    assert told == ["done"]
    assert "after-hook 'raising' failed" in caplog.text
    assert actions(guard) == ["call_allowed", "call_executed"]


def test_hook_registration_other_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="'before' or 'after'"):
        HookRegistration("during", "*", allow)  # type: ignore[arg-type]


def test_hook_decision_reason_is_cut_at_500_characters() -> None:
    decision = HookDecision.block("x" * 600)
    assert (decision.result, len(decision.reason or "")) == (HookResult.DENY, 500)


def test_guard_tells_which_hooks_concern_a_call() -> None:
    hooks = [
        HookRegistration("before", "read", allow),
        HookRegistration("before", "re*", allow, when=lambda call: "path" in call.args),
        HookRegistration("after", "write", allow),
    ]
    guard = Edictum(hooks=hooks)
    assert guard.get_hooks("before", ToolCall("read", {})) == hooks[:1]
    assert guard.get_hooks("before", ToolCall("read", {"path": "a"})) == hooks[:2]
    assert guard.get_hooks("after", ToolCall("read", {})) == []

"""
Running tools: how they are called, when they count as failed, and what the agent gets to see.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from guards import AsyncTool, Tool, actions, ask, events_of, guard_of, post, pre, run, session_rule, trace

from edictum import EdictumDenied, EdictumToolError, Finding, HookRegistration, Principal, RunResult, ToolCall

SIGN = "\u26a0\ufe0f "


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
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    guard = guard_of()
    with pytest.raises(EdictumToolError):
        run(guard, Tool(Unprintable()))
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
        return result == "error: but fine"

    guard = guard_of(success_check=check)
    assert run(guard, Tool("error: but fine")) == "error: but fine"
    with pytest.raises(EdictumToolError, match="fine"):
        run(guard, Tool("fine"))
    assert seen == [("read", "error: but fine"), ("read", "fine")]


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


def test_run_cancelled_while_the_tool_runs_logs_a_failure_and_keeps_the_place() -> None:
    judged: list[Any] = []

    async def main() -> None:
        started = asyncio.Event()

        async def tool() -> None:
            started.set()
            await asyncio.Event().wait()

        hook = HookRegistration("after", "*", lambda call, result: judged.append(result))
        guard = guard_of(post(), hooks=[hook])
        task = asyncio.create_task(guard.run("read", {}, tool, session_id="s1"))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert trace(guard)[1:] == [("call_failed", "enforce", None, None)]
        assert (events_of(guard)[1].error, events_of(guard)[1].tool_success) == ("cancelled", False)
        assert await guard.session("s1").counters("read") == {"attempts": 1, "execs": 1, "tool:read": 1}

    asyncio.run(main())
    assert judged == []


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


# --- post rules by side effect --------------------------------------------------------------------------


TEXTS = {
    "warn": "bad-output says no",
    "redact": "rule 'bad-output' redacted the output: bad-output says no",
    "block": "rule 'bad-output' withheld the output: bad-output says no",
}
SHOWN = {"warn": "pw hunter2", "redact": "pw [REDACTED]", "block": "[OUTPUT SUPPRESSED] bad-output says no"}


@pytest.mark.parametrize("side_effect", ["pure", "read", "write", "irreversible"])
@pytest.mark.parametrize("action", ["warn", "redact", "block"])
def test_run_post_rule_acts_by_side_effect(action: str, side_effect: str) -> None:
    """
    What a tool already changed is not undone by hiding its output, so there every action only warns.
    """
    guard = guard_of(post(action=action), tools={"tool": {"side_effect": side_effect}})
    outcome = asyncio.run(guard.run_detailed("tool", {}, Tool("pw hunter2")))
    effective = action if side_effect in ("pure", "read") else "warn"
    assert outcome.result == SHOWN[effective]
    assert outcome.output_suppressed is (effective == "block")
    (warning,) = outcome.warnings
    assert warning.startswith(SIGN + TEXTS[effective])
    if side_effect in ("write", "irreversible"):
        assert "already executed" in warning
    event = events_of(guard)[-1]
    assert (str(event.action), event.postconditions_passed, event.warnings) == ("call_executed", False, [warning])
    (record,) = event.contracts_evaluated
    assert (record["action"], record["effective_action"]) == (action, effective)


def test_run_redactions_build_on_each_other_and_a_block_replaces_them() -> None:
    first = post("first", action="redact", when={"output.text": {"matches": "b+"}})
    second = post("second", action="redact", when={"output.text": {"contains": "c"}})
    last = post("last", action="block", when={"output.text": {"contains": "a"}})
    assert run(guard_of(first, second), Tool("a bb c")) == "a [REDACTED] [REDACTED]"
    assert run(guard_of(first, last, second), Tool("a bb c")) == "[OUTPUT SUPPRESSED] last says no"


@dataclass
class Row:
    name: str
    secrets: tuple[str, ...]


def test_run_redact_keeps_the_type_of_the_result() -> None:
    guard = guard_of(post(action="redact"))
    assert run(guard, Tool({"a": ["hunter2", 1]})) == {"a": ["[REDACTED]", 1]}
    assert run(guard, Tool(Row("hunter2", ("x",)))) == Row("[REDACTED]", ("x",))


@pytest.mark.security
def test_run_redact_rule_that_cannot_be_judged_withholds_the_output() -> None:
    rule = post(action="redact", when={"result.size": {"gt": 1}})
    outcome = asyncio.run(guard_of(rule).run_detailed("read", {}, Tool({"size": "big", "pw": "hunter2"})))
    assert outcome.output_suppressed is True
    assert "hunter2" not in str(outcome.result)


def test_run_detailed_tells_everything() -> None:
    guard = guard_of(post(metadata={"field": "body"}))
    outcome = asyncio.run(guard.run_detailed("read", {}, Tool("hunter2")))
    assert isinstance(outcome, RunResult)
    assert (outcome.result, outcome.tool_success, outcome.output_suppressed) == ("hunter2", True, False)
    assert (outcome.decision.action, outcome.unwrap()) == ("allow", "hunter2")
    (found,) = outcome.violations
    assert (found.rule_id, found.field, found.type) == ("bad-output", "body", "policy_violation")
    assert (found.message, found.metadata["field"]) == ("bad-output says no", "body")
    assert outcome.events == events_of(guard)


def test_run_detailed_of_a_failing_or_blocked_call_raises() -> None:
    with pytest.raises(EdictumToolError):
        asyncio.run(guard_of().run_detailed("read", {}, Tool("error: x")))
    with pytest.raises(EdictumDenied):
        asyncio.run(guard_of(pre()).run_detailed("read", {}, Tool()))


def test_on_postcondition_warn_once_per_call_replaces_the_result() -> None:
    told: list[tuple[Any, list[Finding]]] = []

    def show(result: Any, violations: list[Finding]) -> str:
        told.append((result, violations))
        return f"{result} (checked)"

    guard = guard_of(post("one", action="redact"), post("two"), on_postcondition_warn=show)
    assert run(guard, Tool("hunter2")) == "[REDACTED] (checked)"
    assert run(guard, Tool("fine")) == "fine"
    ((result, violations),) = told
    assert result == "[REDACTED]"
    assert [found.rule_id for found in violations] == ["one", "two"]


@pytest.mark.fault
def test_on_postcondition_warn_that_raises_leaves_the_result() -> None:
    def show(result: Any, violations: list[Finding]) -> str:
        raise LookupError("callback")

    assert run(guard_of(post(action="redact"), on_postcondition_warn=show), Tool("hunter2")) == "[REDACTED]"


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
    async def main() -> list[object]:
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

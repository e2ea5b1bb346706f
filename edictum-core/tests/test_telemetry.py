"""
What OpenTelemetry gets to see of a call: spans, attributes, statuses and measurements.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from backends import PlainBackend
from edictum import (
    Edictum,
    EdictumConfigError,
    EdictumDenied,
    EdictumToolError,
    GovernanceTelemetry,
    HookDecision,
    HookRegistration,
    Principal,
)
from edictum.sync_call import SyncCall
from edictum.telemetry import report_adapter_exception
from edictum.testing import ScriptedApprovalBackend
from edictum.traced_call import TracedCall
from guards import (
    CANNOT_BE_JUDGED,
    AsyncTool,
    Tool,
    ask,
    denied,
    granted,
    guard_of,
    post,
    pre,
    ruleset,
    run,
    unanswered,
)
from recording import Recorder, attributes, parent_id, shown_texts, span_id, status, traced

# isort: split
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind


def actions_of(recorder: Recorder) -> list[str]:
    return [attributes(span)["edictum.decision"] for span in recorder.evaluations]


# --- attributes of one call -------------------------------------------------------------------------


def test_allowed_call_has_a_span_with_exactly_these_attributes() -> None:
    guard, recorder = traced()
    run(guard, session_id="s1", call_index=3, tool_use_id="call_7", environment="staging")
    span = recorder.tool_span
    assert (span.name, span.kind, parent_id(span)) == ("tool.execute read", SpanKind.INTERNAL, None)
    assert status(span) == ("OK", None)
    assert attributes(span) == {
        "tool.name": "read",
        "tool.side_effect": "read",
        "tool.call_index": 3,
        "governance.environment": "staging",
        "governance.run_id": "s1",
        "edictum.policy_version": guard.policy_version,
        "governance.action": "allowed",
        "governance.tool_success": True,
        "governance.postconditions_passed": True,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "read",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call_7",
    }


def test_allowed_call_has_a_child_for_each_event_with_exactly_these_attributes() -> None:
    guard, recorder = traced(principal=Principal(user_id="u1", role="dev", org_id="o1", ticket_ref="T-1"))
    run(guard, session_id="s1", environment="staging")
    assert actions_of(recorder) == ["call_allowed", "call_executed"]
    for span, action in zip(recorder.evaluations, ["call_allowed", "call_executed"], strict=True):
        assert (span.name, parent_id(span)) == ("edictum.evaluate", span_id(recorder.tool_span))
        assert status(span) == ("OK", None)
        assert attributes(span) == {
            "edictum.tool.name": "read",
            "edictum.decision": action,
            "edictum.decision.reason": "",
            "edictum.decision.source": "",
            "edictum.decision.name": "",
            "edictum.side_effect": "read",
            "edictum.environment": "staging",
            "edictum.mode": "enforce",
            "edictum.session.attempt_count": 1,
            "edictum.session.execution_count": 1,
            "edictum.policy_version": guard.policy_version,
            "edictum.policy_error": False,
            "edictum.principal.role": "dev",
            "edictum.principal.ticket_ref": "T-1",
            "edictum.principal.user_id": "u1",
            "edictum.principal.org_id": "o1",
        }


def test_spans_leave_out_what_is_not_set() -> None:
    recorder = Recorder()
    guard = Edictum(telemetry=recorder.telemetry, principal=Principal(role="dev"))
    run(guard)
    assert "edictum.policy_version" not in attributes(recorder.tool_span)
    for span in recorder.evaluations:
        assert "edictum.policy_version" not in attributes(span)
        assert {name for name in attributes(span) if "principal" in name} == {"edictum.principal.role"}


def test_call_without_an_id_of_the_model_shows_edictums_own() -> None:
    guard, recorder = traced()
    run(guard)
    assert attributes(recorder.tool_span)["gen_ai.tool.call.id"] == guard.local_sink.last().call_id


def test_blocked_call_is_an_error_with_its_reason() -> None:
    guard, recorder = traced(pre(message="do not read {args.path}"))
    with pytest.raises(EdictumDenied):
        run(guard, args={"path": "a.txt"})
    span, (evaluation,) = recorder.tool_span, recorder.evaluations
    assert status(span) == status(evaluation) == ("ERROR", "do not read a.txt")
    shown = attributes(span)
    assert (shown["governance.action"], shown["governance.reason"]) == ("denied", "do not read a.txt")
    assert shown["error.type"] == "EdictumDenied"
    assert {"governance.tool_success", "governance.postconditions_passed"} & shown.keys() == set()
    shown = attributes(evaluation)
    assert shown["edictum.decision"] == "call_denied"
    assert shown["edictum.decision.reason"] == "do not read a.txt"
    assert (shown["edictum.decision.source"], shown["edictum.decision.name"]) == ("yaml_precondition", "no-read")


def test_span_of_a_call_that_cannot_be_read_is_an_error() -> None:
    guard, recorder = traced()
    with pytest.raises(EdictumDenied):
        run(guard, args={"path": "a"}, no_such_field=1)
    assert status(recorder.tool_span)[0] == "ERROR"
    assert attributes(recorder.tool_span)["governance.action"] == "denied"
    assert attributes(recorder.evaluations[0])["edictum.policy_error"] is True


# --- observing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "options", "events"),
    [
        ([pre(message="no")], {"mode": "observe"}, ["call_would_deny", "call_executed"]),
        ([pre(message="no", mode="observe")], {}, ["call_would_deny", "call_allowed", "call_executed"]),
        ([pre(message="no")], {"defaults_mode": "observe"}, ["call_would_deny", "call_allowed", "call_executed"]),
        ([ask(message="no")], {"mode": "observe"}, ["call_would_deny", "call_executed"]),
    ],
)
def test_observed_block_is_no_error(rules: list[Any], options: dict[str, Any], events: list[str]) -> None:
    guard, recorder = traced(*rules, **options)
    assert run(guard) == "done"
    shown = attributes(recorder.tool_span)
    assert (shown["governance.action"], shown["governance.would_deny_reason"]) == ("would_deny", "no")
    assert shown["governance.tool_success"] is True
    assert "governance.reason" not in shown
    assert actions_of(recorder) == events
    assert {status(span) for span in recorder.spans} == {("OK", None)}
    assert attributes(recorder.evaluations[0])["edictum.mode"] == "observe"
    assert (recorder.count("edictum.calls.would_deny"), recorder.count("edictum.calls.allowed")) == (1, 1)


def layered(folder: Path, base: dict[str, Any], layer: dict[str, Any], recorder: Recorder) -> Edictum:
    paths = [folder / name for name in ("base.json", "layer.json")]
    for path, document in zip(paths, (base, layer), strict=True):
        path.write_text(json.dumps(document))
    return Edictum.from_yaml(*paths, telemetry=recorder.telemetry)


@pytest.mark.parametrize("enforced", ["allowed", "denied"])
def test_candidate_rule_does_not_change_the_action_of_the_call(tmp_path: Path, enforced: str) -> None:
    base = ruleset(pre("base", tool="read" if enforced == "denied" else "other"))
    layer = ruleset(pre("strict", message="candidate says no"), observe_alongside=True)
    recorder = Recorder()
    guard = layered(tmp_path, base, layer, recorder)
    with suppress(EdictumDenied):
        run(guard)
    shown = attributes(recorder.tool_span)
    assert shown["governance.action"] == enforced
    assert "governance.would_deny_reason" not in shown
    assert actions_of(recorder)[:2] == [f"call_{enforced}", "call_would_deny"]
    assert recorder.count("edictum.calls.would_deny") == recorder.count(f"edictum.calls.{enforced}") == 1


def test_reason_of_an_observed_block_is_not_that_of_a_candidate(tmp_path: Path) -> None:
    base = ruleset(pre("base", mode="observe", message="base says no"))
    layer = ruleset(pre("strict", message="candidate says no"), observe_alongside=True)
    recorder = Recorder()
    run(layered(tmp_path, base, layer, recorder))
    assert attributes(recorder.tool_span)["governance.would_deny_reason"] == "base says no"
    assert actions_of(recorder).count("call_would_deny") == 2
    assert recorder.count("edictum.calls.would_deny") == 1


# --- approvals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "action", "event"),
    [(granted(), "approved", "call_approval_granted"), (unanswered(), "timeout_allow", "call_approval_timeout")],
)
def test_approved_call_is_no_error(answer: Any, action: str, event: str) -> None:
    rule = ask(message="may it?", timeout_action="allow")
    guard, recorder = traced(rule, approval_backend=ScriptedApprovalBackend([answer] * 9))
    assert run(guard) == "done"
    shown = attributes(recorder.tool_span)
    assert (shown["governance.action"], shown["governance.reason"]) == (action, "may it?")
    assert shown["governance.tool_success"] is True
    assert actions_of(recorder) == ["call_approval_requested", event, "call_executed"]
    assert {status(span) for span in recorder.spans} == {("OK", None)}
    assert recorder.count("edictum.calls.allowed") == 1


@pytest.mark.parametrize(
    ("answers", "event"),
    [
        ([denied(reason="not today")], "call_approval_denied"),
        ([unanswered()], "call_approval_timeout"),
        ([RuntimeError("backend is down")], "call_approval_denied"),
    ],
)
def test_refused_approval_is_an_error(answers: list[Any], event: str) -> None:
    guard, recorder = traced(ask(), approval_backend=ScriptedApprovalBackend(answers))
    with pytest.raises(EdictumDenied) as raised:
        run(guard)
    requested, refused = recorder.evaluations
    assert status(requested) == ("OK", None)
    assert attributes(refused)["edictum.decision"] == event
    assert status(refused) == status(recorder.tool_span) == ("ERROR", raised.value.reason)
    shown = attributes(recorder.tool_span)
    assert (shown["governance.action"], shown["governance.reason"]) == ("denied", raised.value.reason)


def test_approval_without_a_backend_is_an_error() -> None:
    guard, recorder = traced(ask())
    with pytest.raises(EdictumDenied):
        run(guard)
    assert actions_of(recorder) == ["call_denied"]
    assert attributes(recorder.tool_span)["governance.action"] == "denied"


def test_call_blocked_after_its_approval_shows_the_block() -> None:
    args = {"path": "a"}

    async def change() -> None:
        args["path"] = "b"

    guard, recorder = traced(ask(), approval_backend=ScriptedApprovalBackend([granted()] * 9, meanwhile=change))
    with pytest.raises(EdictumDenied) as raised:
        run(guard, args=args)
    assert actions_of(recorder) == ["call_approval_requested", "call_approval_granted", "call_denied"]
    shown = attributes(recorder.tool_span)
    assert (shown["governance.action"], shown["governance.reason"]) == ("denied", raised.value.reason)


# --- how a call ends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (ValueError("no such file"), "ValueError"),
        ("Error: no such file", "EdictumToolError"),
        ({"is_error": True, "text": "no such file"}, "EdictumToolError"),
    ],
)
def test_failed_tool_is_an_error_without_its_text(result: Any, kind: str) -> None:
    guard, recorder = traced()
    with pytest.raises(EdictumToolError):
        run(guard, Tool(result))
    shown = attributes(recorder.tool_span)
    assert status(recorder.tool_span) == ("ERROR", kind)
    assert (shown["governance.tool_success"], shown["error.type"]) == (False, kind)
    assert shown["governance.action"] == "allowed"
    assert status(recorder.evaluations[-1]) == ("OK", None)
    assert recorder.tool_span.events == ()
    assert not [text for text in shown_texts(recorder) if "no such file" in text]


def test_broken_post_rule_shows_on_the_span() -> None:
    guard, recorder = traced(post())
    run(guard, Tool("hunter2"))
    assert attributes(recorder.tool_span)["governance.postconditions_passed"] is False
    assert status(recorder.tool_span) == ("OK", None)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_interrupted_tool_ends_the_span(error: type[BaseException]) -> None:
    guard, recorder = traced()
    with pytest.raises(error):
        guard.run_sync("read", {}, Tool(error()))
    shown = attributes(recorder.tool_span)
    assert status(recorder.tool_span) == ("ERROR", error.__name__)
    assert (shown["governance.tool_success"], shown["error.type"]) == (False, error.__name__)


@pytest.mark.fault
@pytest.mark.parametrize("approval", [False, True])
def test_call_cancelled_at_any_step_ends_its_span_once(approval: bool) -> None:
    async def slow(*facts: object) -> HookDecision:
        await asyncio.sleep(0)
        return HookDecision.allow()

    async def main(steps: int) -> tuple[bool, Recorder]:
        guard, recorder = traced(
            *([ask()] if approval else []),
            approval_backend=ScriptedApprovalBackend([granted()] * 9, meanwhile=lambda: asyncio.sleep(0)),
            backend=PlainBackend(yields=True),
            hooks=[HookRegistration("before", "*", slow), HookRegistration("after", "*", slow)],
        )
        task = asyncio.create_task(guard.run("read", {}, AsyncTool()))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        return isinstance(outcome, asyncio.CancelledError), recorder

    for steps in range(200):
        cancelled, recorder = asyncio.run(main(steps))
        if steps:  # before its first step a coroutine has not begun
            shown = attributes(recorder.tool_span)
            ended = "governance.tool_success" in shown
            assert status(recorder.tool_span)[0] == ("OK" if ended and shown["governance.tool_success"] else "ERROR")
            assert {parent_id(span) for span in recorder.evaluations} <= {span_id(recorder.tool_span)}
        if not cancelled:
            break
    assert not cancelled
    assert steps > 10


def test_abandoned_call_ends_its_span() -> None:
    guard, recorder = traced()

    async def main() -> None:
        call = guard.govern("read", {})
        await call.begin()
        await call.abandon()

    asyncio.run(main())
    shown = attributes(recorder.tool_span)
    assert status(recorder.tool_span) == ("OK", None)
    assert shown["governance.action"] == "allowed"
    assert "governance.tool_success" not in shown


def test_steps_of_a_governed_call_share_one_span() -> None:
    guard, recorder = traced()

    async def main() -> None:
        call = guard.govern("read", {})
        await call.begin()
        assert recorder.tool_spans == []
        assert trace.get_current_span() is trace.INVALID_SPAN  # an adapter's own code is not inside the call
        await call.finish("done")

    asyncio.run(main())
    assert attributes(recorder.tool_span)["governance.tool_success"] is True
    assert [parent_id(span) for span in recorder.evaluations] == [span_id(recorder.tool_span)] * 2


def test_governed_call_that_fails_is_an_error() -> None:
    guard, recorder = traced()

    async def main() -> None:
        call = guard.govern("read", {})
        await call.begin()
        await call.fail(ValueError("no"))

    asyncio.run(main())
    assert status(recorder.tool_span) == ("ERROR", "ValueError")


def test_misused_call_keeps_its_span(caplog: pytest.LogCaptureFixture) -> None:
    guard, recorder = traced()

    async def main() -> None:
        call = guard.govern("read", {})
        for step in (call.finish("early"), call.abandon()):
            with pytest.raises(RuntimeError, match="needs it to be 'allowed'"):
                await step
        await call.begin()
        with pytest.raises(RuntimeError, match="needs it to be 'new'"):
            await call.begin()
        assert recorder.spans == recorder.evaluations  # the span goes on
        await call.finish("done")
        for step in (call.finish("again"), call.abandon()):
            with pytest.raises(RuntimeError, match="is 'done'"):
                await step

    asyncio.run(main())
    assert len(recorder.tool_spans) == 1
    assert attributes(recorder.tool_span)["governance.tool_success"] is True
    assert caplog.records == []  # OpenTelemetry complains of spans that end twice


@pytest.mark.parametrize("way", ["run", "run_detailed", "run_sync", "session", "run_in_thread"])
def test_every_way_to_run_a_tool_is_traced(way: str) -> None:
    guard, recorder = traced()
    if way == "run_sync":
        guard.run_sync("read", {}, Tool())
    elif way == "session":
        asyncio.run(guard.session("s9").run("read", {}, Tool()))
    elif way == "run_in_thread":
        asyncio.run(guard.run("read", {}, Tool(), run_in_thread=True))
    else:
        asyncio.run(getattr(guard, way)("read", {}, Tool()))
    assert attributes(recorder.tool_span)["governance.tool_success"] is True
    assert actions_of(recorder) == ["call_allowed", "call_executed"]


# --- the span is current while the tool runs --------------------------------------------------------


def spanning(recorder: Recorder) -> Callable[..., str]:
    def tool(**args: Any) -> str:
        with recorder.tracer_provider.get_tracer("tool").start_as_current_span("inner"):
            return "done"

    return tool


def spanning_later(recorder: Recorder) -> Callable[..., Any]:
    async def tool(**args: Any) -> str:
        await asyncio.sleep(0)
        with recorder.tracer_provider.get_tracer("tool").start_as_current_span("inner"):
            await asyncio.sleep(0)
            return "done"

    return tool


@pytest.mark.parametrize("make", [spanning, spanning_later])
@pytest.mark.parametrize("way", ["run", "run_in_thread", "run_sync"])
def test_span_of_the_tool_is_a_child_of_the_call(make: Callable[[Recorder], Any], way: str) -> None:
    guard, recorder = traced()
    tool = make(recorder)
    if way == "run_sync":
        assert guard.run_sync("read", {}, tool) == "done"
    else:
        assert asyncio.run(guard.run("read", {}, tool, run_in_thread=way == "run_in_thread")) == "done"
    (inner,) = [span for span in recorder.spans if span.name == "inner"]
    assert parent_id(inner) == span_id(recorder.tool_span)
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_call_inside_a_tool_is_a_child_of_the_outer_call() -> None:
    guard, recorder = traced()

    async def outer() -> Any:
        return await guard.run("inner", {}, Tool("deep"))

    assert asyncio.run(guard.run("outer", {}, outer)) == "deep"
    spans = {span.name: span for span in recorder.tool_spans}
    inner, outer_span = spans["tool.execute inner"], spans["tool.execute outer"]
    assert (parent_id(inner), parent_id(outer_span)) == (span_id(outer_span), None)


@pytest.mark.parametrize("way", ["run", "run_sync", "govern"])
def test_call_is_a_child_of_the_span_around_it(way: str) -> None:
    guard, recorder = traced()

    async def main() -> None:
        with recorder.tracer_provider.get_tracer("agent").start_as_current_span("agent") as agent:
            if way == "run":
                await guard.run("read", {}, Tool())
            elif way == "run_sync":
                guard.run_sync("read", {}, Tool())
            else:
                call = guard.govern("read", {})
                await call.begin()
                await call.finish("done")
            assert trace.get_current_span() is agent

    asyncio.run(main())
    (agent,) = [span for span in recorder.spans if span.name == "agent"]
    assert parent_id(recorder.tool_span) == span_id(agent)


@pytest.mark.parametrize("tool", [Tool(ValueError("no")), Tool(KeyboardInterrupt())])
def test_failing_tool_leaves_the_context_as_it_was(tool: Tool) -> None:
    guard, _ = traced()
    before = otel_context.get_current()
    with pytest.raises((EdictumToolError, KeyboardInterrupt)):
        guard.run_sync("read", {}, tool)
    assert otel_context.get_current() is before


def test_blocked_call_leaves_the_context_as_it_was() -> None:
    guard, _ = traced(pre())

    async def main() -> None:
        before = otel_context.get_current()
        with pytest.raises(EdictumDenied):
            await guard.run("read", {}, Tool())
        assert otel_context.get_current() is before

    asyncio.run(main())


def test_parallel_calls_keep_their_spans_apart() -> None:
    recorder = Recorder()
    guard = Edictum(telemetry=recorder.telemetry)
    tool = spanning_later(recorder)

    async def main() -> None:
        await asyncio.gather(*(guard.run(f"tool-{number}", {}, tool) for number in range(20)))

    asyncio.run(main())
    calls = {span_id(span): span for span in recorder.tool_spans}
    assert len(calls) == 20
    for span in recorder.evaluations:
        assert attributes(calls[parent_id(span) or 0])["tool.name"] == attributes(span)["edictum.tool.name"]
    inner = [span for span in recorder.spans if span.name == "inner"]
    assert sorted(parent_id(span) or 0 for span in inner) == sorted(calls)


def test_coroutine_that_is_thrown_away_ends_its_span_quietly(caplog: pytest.LogCaptureFixture) -> None:
    guard, recorder = traced()

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    async def start() -> Any:
        coroutine = guard.run("read", {}, never)
        coroutine.send(None)
        return coroutine

    coroutine = asyncio.run(start())
    thread = threading.Thread(target=coroutine.close)  # a context of its own
    thread.start()
    thread.join()
    assert status(recorder.tool_span)[0] == "ERROR"
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


# --- measurements -----------------------------------------------------------------------------------


def test_calls_are_counted_by_their_outcome() -> None:
    recorder = Recorder()
    guard = Edictum.from_bundle_dict(
        ruleset(pre("p", tool="rm"), ask("q", tool="ask", timeout_action="allow")),
        telemetry=recorder.telemetry,
        approval_backend=ScriptedApprovalBackend([granted(), denied(), *[unanswered()] * 9]),
    )
    for name in ("read", "read", "rm", "ask", "ask", "ask"):
        with suppress(EdictumDenied):
            run(guard, name=name)
    assert {tool: recorder.count("edictum.calls.allowed", tool) for tool in ("read", "rm", "ask")} == {
        "read": 2, "rm": 0, "ask": 2,
    }  # fmt: skip
    assert {tool: recorder.count("edictum.calls.denied", tool) for tool in ("read", "rm", "ask")} == {
        "read": 0, "rm": 1, "ask": 1,
    }  # fmt: skip
    assert recorder.measured("edictum.calls.would_deny") == {}


def test_failing_tool_counts_as_an_allowed_call() -> None:
    guard, recorder = traced()
    with pytest.raises(EdictumToolError):
        run(guard, Tool(ValueError()))
    assert recorder.count("edictum.calls.allowed") == 1


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_rule_that_cannot_be_judged_is_counted(mode: Any) -> None:
    guard, recorder = traced(pre(when=CANNOT_BE_JUDGED), mode=mode)
    with suppress(EdictumDenied):
        run(guard, args={"path": "text"})
    assert recorder.count("edictum.policy_errors") == 1
    assert attributes(recorder.evaluations[0])["edictum.policy_error"] is True


def test_post_rule_that_cannot_be_judged_is_counted() -> None:
    guard, recorder = traced(post(when={"args.path": {"gt": 1}}))
    run(guard, args={"path": "text"})
    assert recorder.count("edictum.policy_errors") == 1


def test_time_to_decide_is_measured_in_milliseconds() -> None:
    guard, recorder = traced()
    for _ in range(3):
        run(guard)
    ((label, (count, total)),) = recorder.measured("edictum.evaluation.duration").items()
    assert label == frozenset({("tool.name", "read")})
    assert count == 3
    assert 0 < total < 60_000


def test_time_of_people_is_measured_by_itself() -> None:
    clock = Ticking()
    backend = ScriptedApprovalBackend([granted()] * 9, meanwhile=lambda: clock.pass_seconds(90))
    guard, recorder = traced(ask(), approval_backend=backend, clock=clock)
    run(guard)
    label = frozenset({("tool.name", "read"), ("edictum.decision", "call_approval_granted")})
    assert recorder.measured("edictum.approvals.wait") == {label: (1, 90_000)}
    ((count, total),) = recorder.measured("edictum.evaluation.duration").values()
    assert (count, total) == (1, 0)  # less than nothing by this clock; never below zero


def test_approval_that_failed_is_no_time_to_decide() -> None:
    guard, recorder = traced(ask(), approval_backend=ScriptedApprovalBackend([RuntimeError()] * 9))
    with pytest.raises(EdictumDenied):
        run(guard)
    assert recorder.measured("edictum.approvals.wait") == {}
    assert recorder.measured("edictum.evaluation.duration") == {}
    assert recorder.count("edictum.calls.denied") == 1


class Ticking:
    """
    A clock whose time passes only when told to.
    """

    def __init__(self) -> None:
        self._seconds = 0.0

    async def pass_seconds(self, seconds: float) -> None:
        self._seconds += seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._seconds, UTC)

    def monotonic(self) -> float:
        return self._seconds


def test_call_that_is_not_sampled_is_counted_only() -> None:
    recorder = Recorder(sampler=ALWAYS_OFF)
    guard, _ = traced(pre(), recorder=recorder)
    with pytest.raises(EdictumDenied):
        run(guard)
    assert recorder.spans == []
    assert recorder.count("edictum.calls.denied") == 1


# --- options ----------------------------------------------------------------------------------------


def test_genai_names_change_the_name_of_the_span_only() -> None:
    plain, genai = Recorder(), Recorder(span_names="genai")
    for recorder in (plain, genai):
        guard, _ = traced(recorder=recorder)
        run(guard, session_id="s", tool_use_id="1")
    assert (plain.tool_span.name, genai.tool_span.name) == ("tool.execute read", "execute_tool read")
    assert attributes(plain.tool_span) == attributes(genai.tool_span)
    assert len(genai.tool_spans) == 1


def test_arguments_are_not_shown_unless_asked_for() -> None:
    guard, recorder = traced()
    run(guard, args={"path": "notes.txt"})
    assert not any("notes.txt" in text for text in shown_texts(recorder))


def test_arguments_that_are_asked_for_are_those_of_the_decision_log() -> None:
    recorder = Recorder(capture_args=True)
    guard, _ = traced(recorder=recorder)
    run(guard, args={"path": "notes.txt", "password": "swordfish"})
    logged = guard.local_sink.last().tool_args
    assert logged == {"path": "notes.txt", "password": "[REDACTED]"}
    for span in recorder.evaluations:
        assert json.loads(attributes(span)["edictum.tool.args"]) == logged
    assert json.loads(attributes(recorder.tool_span)["gen_ai.tool.call.arguments"]) == logged


@pytest.mark.parametrize("character", ["a", "ä", "€", "😀"])
def test_arguments_are_cut_at_four_kilobytes(character: str) -> None:
    recorder = Recorder(capture_args=True)
    guard, _ = traced(recorder=recorder)
    run(guard, args={f"k{number}": character * 900 for number in range(9)})
    shown = attributes(recorder.tool_span)["gen_ai.tool.call.arguments"]
    assert 4_090 < len(shown.encode()) <= 4_096
    assert shown.endswith("...")


def test_guard_with_telemetry_off_reports_nothing() -> None:
    guard = guard_of(telemetry=False)
    assert type(guard._new_call("read", {}, None, None, {})) is SyncCall


def test_guard_without_providers_reports_nothing() -> None:
    # The SDK is imported here, but nobody has installed a provider.
    assert type(guard_of()._new_call("read", {}, None, None, {})) is SyncCall
    assert type(traced()[0]._new_call("read", {}, None, None, {})) is TracedCall


@pytest.mark.parametrize("telemetry", [True, "otel", 0, object()])
def test_telemetry_that_is_none_is_refused(telemetry: Any) -> None:
    with pytest.raises(EdictumConfigError, match="telemetry is a GovernanceTelemetry, None or False"):
        Edictum(telemetry=telemetry)


def test_unknown_span_names_are_refused() -> None:
    with pytest.raises(EdictumConfigError, match="'edictum' or 'genai', not 'otel'"):
        GovernanceTelemetry(span_names="otel")  # type: ignore[arg-type]


def test_reload_and_merging_keep_the_telemetry() -> None:
    guard, recorder = traced()
    asyncio.run(guard.reload(ruleset(pre("new"))))
    for each in (guard, Edictum.from_multiple([guard])):
        with pytest.raises(EdictumDenied):
            run(each)
    assert len(recorder.tool_spans) == 2


def test_guards_may_share_providers() -> None:
    recorder = Recorder()
    second = GovernanceTelemetry(tracer_provider=recorder.tracer_provider, meter_provider=recorder.meter_provider)
    for telemetry in (recorder.telemetry, second):
        run(guard_of(telemetry=telemetry))
    assert len(recorder.tool_spans) == 2
    assert recorder.count("edictum.calls.allowed") == 2


def test_fault_of_an_adapter_is_reported() -> None:
    guard, recorder = traced(mode="observe")
    report_adapter_exception(guard, "read", ValueError("notes.txt"))
    (span,) = recorder.spans
    assert span.name == "edictum.adapter.internal_exception"
    assert attributes(span) == {
        "governance.adapter_exception": "ValueError",
        "governance.mode": "observe",
        "tool.name": "read",
    }
    assert status(span) == ("ERROR", "ValueError")
    label = frozenset({("tool.name", "read"), ("governance.mode", "observe")})
    assert recorder.measured("edictum.adapter.internal_exception") == {label: 1}


def test_fault_of_an_adapter_without_telemetry_is_nothing() -> None:
    report_adapter_exception(guard_of(telemetry=False), "read", ValueError("no"))


# --- documentation ----------------------------------------------------------------------------------


def test_every_name_that_is_sent_is_documented() -> None:
    recorder = Recorder(capture_args=True)
    principal = Principal(user_id="u", role="r", org_id="o", ticket_ref="t")
    for rule in (pre(), pre(mode="observe"), ask(), pre(when=CANNOT_BE_JUDGED)):
        guard, _ = traced(
            rule, recorder=recorder, principal=principal, approval_backend=ScriptedApprovalBackend([granted()] * 9)
        )
        with suppress(EdictumDenied):
            run(guard, args={"path": "a"})
    report_adapter_exception(guard, "read", ValueError())
    names = {name for span in recorder.spans for name in attributes(span)} | {span.name for span in recorder.spans}
    names |= recorder.metric_names
    page = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
    # A row names further members of a group by their last part only.
    shown = {name for name in names if f"`{name}`" in page or f"`.{name.rpartition('.')[2]}`" in page}
    assert names - shown == {"tool.execute read"}
    assert {"edictum.evaluation.duration", "edictum.approvals.wait", "gen_ai.tool.call.arguments"} <= shown

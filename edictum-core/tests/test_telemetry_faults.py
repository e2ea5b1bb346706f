"""
What telemetry must never do: show a secret, or make a call end otherwise than it would.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from edictum import (
    Decision,
    Edictum,
    EdictumDenied,
    EdictumError,
    GovernanceTelemetry,
    HookDecision,
    HookRegistration,
    Principal,
    RedactionPolicy,
    postcondition,
    precondition,
    telemetry,
)
from edictum.telemetry import report_adapter_exception
from edictum.testing import ScriptedApprovalBackend
from guards import AsyncTool, Tool, ask, denied, granted, guard_of, post, pre, run
from hypothesis import given
from hypothesis import strategies as st
from recording import Recorder, shown_texts, traced
from test_redaction import TOKENS

# isort: split
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult

# --- secrets ----------------------------------------------------------------------------------------

SECRETS = st.sampled_from(sorted(TOKENS.values()))
BORDERS = st.sampled_from(["", " ", "\n", "token: ", '"', "=", "x " * 600])


@st.composite
def secretive_texts(draw: st.DrawFn) -> str:
    """
    A text that holds a secret.
    """
    return draw(BORDERS) + draw(SECRETS) + draw(BORDERS)


@pytest.mark.property
@pytest.mark.security
@given(
    texts=st.lists(secretive_texts(), min_size=8, max_size=8),
    end=st.sampled_from(["result", "error", "raise", "block", "ask", "refuse", "hook", "rule", "observe"]),
    name=st.sampled_from(["read", "secretive"]),
)
def test_no_secret_is_in_anything_that_is_sent(texts: list[str], end: str, name: str) -> None:
    arg, result, user, role, approver, said, use_id, tool_name = texts
    recorder = Recorder(capture_args=True)
    rules = {
        "block": [pre(message="no {args.path} for {principal.user_id}")],
        "observe": [pre(message="no {args.path}", mode="observe")],
        "ask": [ask(message="may {args.path}?")],
        "refuse": [ask(message="may {args.path}?")],
    }.get(end, [post(when={"output.text": {"exists": True}})])

    def hook(call: object) -> HookDecision:
        return HookDecision.deny(said)

    @precondition("*")
    def rule(call: object) -> Decision:
        raise ValueError(said)

    guard = guard_of(
        *rules,
        telemetry=recorder.telemetry,
        hooks=[HookRegistration("before", "*", hook)] if end == "hook" else None,
        rules=[rule] if end == "rule" else None,
        principal=Principal(user_id=user, role=role, ticket_ref=user, org_id=role, claims={"x": user}),
        approval_backend=ScriptedApprovalBackend(
            [granted(approver, said) if end == "ask" else denied(approver, said)] * 9
        ),
    )
    tool = Tool({"error": f"Error: {result}", "raise": ValueError(result)}.get(end, result))
    args = {"path": arg, "deep": [{arg: [arg]}], "password": "swordfish"}
    called = name if name == "read" else f"tool {tool_name}"
    with suppress(EdictumError):
        run(guard, tool, args, called, tool_use_id=use_id, metadata={"note": said})
    assert recorder.tool_spans
    secrets = {"swordfish", *(secret for secret in TOKENS.values() if any(secret in text for text in texts))}
    for shown in shown_texts(recorder):
        assert [secret for secret in secrets if secret in shown] == []


@pytest.mark.security
def test_redaction_of_the_guard_counts_for_spans() -> None:
    recorder = Recorder(capture_args=True)
    redaction = RedactionPolicy(sensitive_keys=["patient"], custom_patterns=[("P-[0-9]+", "[patient]")])
    guard, _ = traced(pre(message="not {args.id}"), recorder=recorder, redaction=redaction)
    with pytest.raises(EdictumDenied):
        run(guard, args={"patient": "Miller", "id": "P-17"})
    assert "not [REDACTED]" in shown_texts(recorder)
    assert not [text for text in shown_texts(recorder) if "Miller" in text or "P-17" in text]


@pytest.mark.security
def test_redaction_that_fails_shows_nothing() -> None:
    class Broken(RedactionPolicy):
        def redact_text(self, text: str, max_length: int | None = None) -> str:
            raise RuntimeError("broken")

        def redact_event_args(self, args: Any) -> Any:
            raise RuntimeError("broken")

    recorder = Recorder(capture_args=True)
    guard, _ = traced(recorder=recorder, redaction=Broken())
    run(guard, args={"path": "plain"})
    assert not [text for text in shown_texts(recorder) if "plain" in text]
    assert recorder.tool_span.name == "tool.execute [REDACTED]"


@pytest.mark.security
def test_text_without_utf8_form_does_not_spoil_the_batch() -> None:
    recorder = Recorder(capture_args=True)
    lone = "a\ud800b"
    guard, _ = traced(pre(message="no {args.path}"), recorder=recorder, environment=lone)
    guard.policy_version = lone
    principal = Principal(user_id=lone, role=lone)
    with pytest.raises(EdictumDenied):
        run(guard, args={"path": lone, lone: 1}, name=f"read{lone}", tool_use_id=lone, principal=principal)
    assert "\\udc00" not in repr(encode_spans(recorder.spans))
    assert len(recorder.spans) == 2


@pytest.mark.security
def test_invented_tool_names_do_not_make_measurements_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert telemetry.MAX_TOOLS == 1_000
    monkeypatch.setattr(telemetry, "MAX_TOOLS", 20)
    guard, recorder = traced(pre())
    for number in range(25):
        with suppress(EdictumDenied):
            run(guard, name=f"tool-{number}")
    assert len(recorder.measured("edictum.calls.denied")) == 21
    assert recorder.count("edictum.calls.denied", telemetry.OTHER_TOOLS) == 5


@pytest.mark.security
def test_huge_tool_name_is_cut() -> None:
    guard, recorder = traced()
    with pytest.raises(EdictumDenied):
        run(guard, name="x" * 100_000)
    assert max(len(text) for text in shown_texts(recorder)[:-1]) < 2_000


# --- faults -----------------------------------------------------------------------------------------


class BrokenError(Exception):
    """
    What a broken part raises.
    """


class Breaking:
    """
    Wraps an object of OpenTelemetry and raises when one of its methods is called.

    Args:
        target: The object.
        method: Name of the method; of this object, or of one that its methods return.
    """

    def __init__(self, target: Any, method: str) -> None:
        self._target = target
        self._method = method

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            raise BrokenError(name)
        value = getattr(self._target, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            found = value(*args, **kwargs)
            return Breaking(found, self._method) if hasattr(found, "__dict__") else found

        return call


class BreakingProcessor(SpanProcessor):
    def __init__(self, method: str) -> None:
        self._method = method

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        if self._method == "on_start":
            raise BrokenError

    def on_end(self, span: ReadableSpan) -> None:
        if self._method == "on_end":
            raise BrokenError


class BreakingExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise BrokenError

    def shutdown(self) -> None:
        raise BrokenError


SPAN_FAULTS = ("start_span", "set_attributes", "set_status", "end", "is_recording")
METER_FAULTS = ("add", "record")


def broken(fault: str) -> Recorder:
    if fault in ("on_start", "on_end"):
        return Recorder(processors=[BreakingProcessor(fault)])
    whole = Recorder()
    providers = {"tracer_provider": whole.tracer_provider, "meter_provider": whole.meter_provider}
    kind = "meter_provider" if fault in METER_FAULTS else "tracer_provider"
    return Recorder(**{**providers, kind: Breaking(providers[kind], fault)})


@postcondition("*")
def checked(call: object, result: object) -> Decision:
    return Decision.pass_()


def outcomes(telemetry: Any) -> list[object]:
    """
    What calls of every kind lead to.
    """

    def note(make: Callable[[], Any]) -> object:
        try:
            return make()
        except BaseException as error:
            return type(error).__name__, str(error)

    def guard(*rules: Any, **options: Any) -> Edictum:
        return guard_of(*rules, telemetry=telemetry, **options)

    async def steps(end: str) -> object:
        call = guard().govern("read", {})
        await call.begin()
        if end == "finish":
            return (await call.finish("done")).result
        return str(await call.fail(ValueError("no"))) if end == "fail" else await call.abandon()

    return [
        note(lambda: run(guard(), args={"path": "a"})),
        note(lambda: run(guard(rules=[checked]), AsyncTool())),
        note(lambda: run(guard(pre(message="no {args.path}")), args={"path": "a"})),
        note(lambda: run(guard(pre(), mode="observe"))),
        note(lambda: run(guard(ask()), name="read")),
        note(lambda: run(guard(ask(), approval_backend=ScriptedApprovalBackend([granted()] * 9)))),
        note(lambda: run(guard(ask(), approval_backend=ScriptedApprovalBackend([denied()] * 9)))),
        note(lambda: run(guard(), Tool(ValueError("no")))),
        note(lambda: run(guard(), Tool("error: no"))),
        note(lambda: run(guard(), Tool(), run_in_thread=True)),
        note(lambda: guard().run_sync("read", {}, Tool())),
        note(lambda: guard().run_sync("read", {}, Tool(KeyboardInterrupt()))),
        *(note(lambda end=end: asyncio.run(steps(end))) for end in ("finish", "fail", "abandon")),  # type: ignore[misc]
    ]


@pytest.mark.fault
@pytest.mark.parametrize("fault", [*SPAN_FAULTS, *METER_FAULTS, "on_start", "on_end"])
def test_fault_of_opentelemetry_changes_no_outcome(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "edictum.telemetry")
    telemetry = broken(fault).telemetry
    expected = outcomes(False)
    assert outcomes(telemetry) == expected
    assert telemetry.failures > 0
    warnings = [record for record in caplog.records if record.name == "edictum.telemetry"]
    assert [record.levelno for record in warnings][:2] == [logging.WARNING, logging.DEBUG]
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.fault
def test_fault_free_telemetry_changes_no_outcome() -> None:
    recorder = Recorder()
    assert outcomes(recorder.telemetry) == outcomes(False)
    assert recorder.telemetry.failures == 0
    assert len(recorder.tool_spans) == len(outcomes(False))


@pytest.mark.fault
@pytest.mark.parametrize("make", [SimpleSpanProcessor, BatchSpanProcessor])
def test_exporter_that_fails_changes_no_outcome(make: Callable[[SpanExporter], SpanProcessor]) -> None:
    processor = make(BreakingExporter())
    assert outcomes(Recorder(processors=[processor]).telemetry) == outcomes(False)
    with suppress(BrokenError):
        processor.shutdown()


@pytest.mark.fault
@pytest.mark.parametrize("fault", ["add", "record", "set_attributes", "set_status"])
def test_fault_of_one_part_leaves_the_span_ending(fault: str) -> None:
    telemetry = broken(fault).telemetry
    ended: list[str] = []

    class Noting(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span.name)

    recorder = Recorder(processors=[Noting()])
    kind = "meter_provider" if fault in METER_FAULTS else "tracer_provider"
    target = recorder.meter_provider if fault in METER_FAULTS else recorder.tracer_provider
    options = {"tracer_provider": recorder.tracer_provider, kind: Breaking(target, fault)}
    telemetry = GovernanceTelemetry(**options)
    run(guard_of(telemetry=telemetry))
    with pytest.raises(EdictumDenied):
        run(guard_of(pre(), telemetry=telemetry))
    assert ended.count("tool.execute read") == 2
    assert telemetry.failures > 0


@pytest.mark.fault
@pytest.mark.parametrize("fault", ["get_tracer", "get_meter", "create_counter", "create_histogram"])
def test_telemetry_that_cannot_be_set_up_is_off(fault: str) -> None:
    recorder = broken(fault)
    kind = "tracer_provider" if fault == "get_tracer" else "meter_provider"
    telemetry = GovernanceTelemetry(**{kind: Breaking(getattr(recorder, kind), fault)})
    assert telemetry.failures == 1
    assert outcomes(telemetry) == outcomes(False)


@pytest.mark.fault
def test_adapter_fault_is_reported_without_raising() -> None:
    telemetry = broken("start_span").telemetry
    report_adapter_exception(guard_of(telemetry=telemetry), "read", ValueError("no"))
    assert telemetry.failures == 1

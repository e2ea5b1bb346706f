"""
The span of one tool call, with a child for each decision-log event, and what is measured about the call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from edictum.audit import AuditAction, AuditEvent, EventParts, to_json_line
from edictum.telemetry import GovernanceTelemetry, sound

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from edictum.engine.outcome import PreDecision
    from edictum.tool_call import ToolCall

P = ParamSpec("P")
S = TypeVar("S", bound="ToolSpan")

MAX_ARGS_BYTES = 4_096

_REFUSALS = (AuditAction.CALL_DENIED, AuditAction.CALL_APPROVAL_DENIED, AuditAction.CALL_APPROVAL_TIMEOUT)
_ANSWERS = (
    AuditAction.CALL_APPROVAL_GRANTED,
    AuditAction.CALL_APPROVAL_DENIED,
    AuditAction.CALL_APPROVAL_TIMEOUT,
)
_ENDS = (AuditAction.CALL_EXECUTED, AuditAction.CALL_FAILED)
_PRINCIPAL = ("role", "ticket_ref", "user_id", "org_id")


def _harmless(method: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    @wraps(method)
    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.telemetry._failed(error)

    return guarded


class ToolSpan:
    """
    The span of one call.  No method raises.

    As a context manager it makes the span current, so that spans of the tool become its children.

    Args:
        telemetry: Where it goes.
        tool_name: Name of the tool, as the caller gave it.
        clean: Redacts text as for the decision log.

    Attributes:
        telemetry: Where it goes.
        timeout_allows: Whether the call may run when nobody answers the request for approval.
    """

    __slots__ = (
        "_answer",
        "_args",
        "_began",
        "_clean",
        "_context",
        "_ended",
        "_outcome",
        "_policy_error",
        "_reason",
        "_recording",
        "_span",
        "_token",
        "_tool",
        "_waited",
        "_would",
        "telemetry",
        "timeout_allows",
    )

    def __init__(self, telemetry: GovernanceTelemetry, tool_name: str, clean: Callable[[str], str]) -> None:
        self.telemetry = telemetry
        self.timeout_allows = False
        self._tool = tool_name
        self._clean = clean
        self._span: Span | None = None
        self._context: Any = None
        self._token: Any = None
        self._recording = False
        self._began: float | None = None
        self._ended = False
        # What the events said.
        self._answer: AuditAction | None = None
        self._waited: float | None = 0.0
        self._reason: str | None = None
        self._would: str | None = None
        self._policy_error = False
        self._outcome: AuditEvent | None = None
        self._args: str | None = None

    # --- current while the call runs ------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        self._attach()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A coroutine that is thrown away may end in a foreign context, where there is nothing to detach from.
        if kind is not GeneratorExit:
            self._detach()

    @_harmless
    def _attach(self) -> None:
        if self._span is not None:
            self._token = self.telemetry._api.context.attach(self._context)

    @_harmless
    def _detach(self) -> None:
        if self._token is not None:
            self.telemetry._api.context.detach(self._token)

    # --- the way to the tool --------------------------------------------------------------------

    @_harmless
    def start(self) -> None:
        """
        Begin; once only.
        """
        if self._began is not None:
            return
        self._began = perf_counter()
        self._tool = tool = sound(self._clean(str(self._tool)))
        # Known from the start, for samplers.
        attributes = {
            "tool.name": tool,
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.type": "function",
        }
        telemetry = self.telemetry
        self._span = span = telemetry._tracer.start_span(telemetry._span_name(tool), attributes=attributes)
        self._context = telemetry._api.trace.set_span_in_context(span)
        self._recording = span.is_recording()

    @_harmless
    def describe(self, call: ToolCall, policy_version: str | None) -> None:
        """
        Say what call it is.
        """
        if not self._recording or self._span is None:
            return
        attributes: dict[str, str | int] = {
            "tool.side_effect": str(call.side_effect),
            "tool.call_index": call.call_index,
            "governance.environment": sound(call.environment),
            "governance.run_id": sound(call.run_id),
            # The model's id is text from outside; edictum's own is not.
            "gen_ai.tool.call.id": sound(self._clean(str(call.tool_use_id)) if call.tool_use_id else call.call_id),
        }
        if policy_version is not None:
            attributes["edictum.policy_version"] = sound(policy_version)
        self._span.set_attributes(attributes)

    @_harmless
    def saw(self, parts: EventParts) -> None:
        """
        Take note of a decision-log event.
        """
        event = AuditEvent.from_parts(parts)
        self._note(event)
        if self._recording:
            self._add_child(event)

    def _note(self, event: AuditEvent) -> None:
        action = event.action
        self._policy_error = self._policy_error or event.policy_error
        if action is AuditAction.CALL_WOULD_DENY and self._would is None:
            self._would = event.reason or ""
        elif action is AuditAction.CALL_APPROVAL_REQUESTED:
            self._waited = None
        elif action in _ENDS:
            self._outcome = event
        if action in _ANSWERS:
            self._answer = action
            self._waited = (event.metadata or {}).get("waited_ms")
            self._measure_wait(action)
        if action in _REFUSALS or action in _ANSWERS:
            self._reason = event.reason

    def _add_child(self, event: AuditEvent) -> None:
        attributes: dict[str, str | int | bool] = {
            "edictum.tool.name": self._tool,
            "edictum.decision": str(event.action),
            "edictum.decision.reason": sound(event.reason or ""),
            "edictum.decision.source": event.decision_source or "",
            "edictum.decision.name": sound(event.decision_name or ""),
            "edictum.side_effect": str(event.side_effect),
            "edictum.environment": sound(event.environment),
            "edictum.mode": event.mode,
            "edictum.session.attempt_count": event.session_attempt_count,
            "edictum.session.execution_count": event.session_execution_count,
            "edictum.policy_error": event.policy_error,
        }
        if event.policy_version is not None:
            attributes["edictum.policy_version"] = sound(event.policy_version)
        principal = event.principal or {}
        for name in _PRINCIPAL:
            if principal.get(name) is not None:
                attributes[f"edictum.principal.{name}"] = sound(principal[name])
        if self.telemetry._capture_args:
            attributes["edictum.tool.args"] = self._shown_args(event)
        telemetry = self.telemetry
        child = telemetry._evaluations.start_span("edictum.evaluate", self._context, attributes=attributes)
        status = telemetry._api.trace.StatusCode
        passed = event.action is AuditAction.CALL_APPROVAL_TIMEOUT and self.timeout_allows
        if event.action in _REFUSALS and not passed:
            child.set_status(status.ERROR, sound(event.reason or ""))
        else:
            child.set_status(status.OK)
        child.end()

    def _shown_args(self, event: AuditEvent) -> str:
        if self._args is None:
            encoded = sound(to_json_line(event.tool_args)).encode()
            if len(encoded) > MAX_ARGS_BYTES:
                encoded = encoded[: MAX_ARGS_BYTES - 3].decode(errors="ignore").encode() + b"..."
            self._args = encoded.decode()
            if self._span is not None:
                self._span.set_attribute("gen_ai.tool.call.arguments", self._args)
        return self._args

    # --- its end --------------------------------------------------------------------------------

    @_harmless
    def denied(self) -> None:
        """
        The tool must not run; ends the span.
        """
        reason = sound(self._reason or "")
        attributes = {"governance.action": "denied", "governance.reason": reason, "error.type": "EdictumDenied"}
        self._measure("denied")
        self._finish(attributes, reason)

    @_harmless
    def allowed(self, decision: PreDecision, *, observing: bool) -> None:
        """
        The tool may run.

        Args:
            decision: The decision.
            observing: Whether the guard only observes.
        """
        refused = observing and decision.action != "allow"
        observed = refused or bool(decision.observed_rules)
        action = "would_deny" if observed else "allowed"
        if self._answer is not None:
            action = "approved" if self._answer is AuditAction.CALL_APPROVAL_GRANTED else "timeout_allow"
        attributes = {"governance.action": action}
        if self._answer is not None:
            attributes["governance.reason"] = sound(self._reason or "")
        if observed:
            attributes["governance.would_deny_reason"] = sound(self._would or "")
        self._measure("allowed")
        if self._recording and self._span is not None:
            self._span.set_attributes(attributes)

    @_harmless
    def end(self, error: BaseException | None = None) -> None:
        """
        The call is over: the tool ended, was never started, or nobody waits any longer.

        Args:
            error: What the tool raised, or what broke the call off.
        """
        outcome = self._outcome
        attributes: dict[str, str | bool] = {}
        failed = error is not None
        if outcome is not None:
            attributes["governance.tool_success"] = bool(outcome.tool_success)
            attributes["governance.postconditions_passed"] = bool(outcome.postconditions_passed)
            failed = not outcome.tool_success
        # Only its type: the text of a failed tool quotes arguments and results.
        failure = "EdictumToolError" if error is None else type(error).__name__
        if failed:
            attributes["error.type"] = failure
        self._finish(attributes, failure if failed else None)

    def _finish(self, attributes: dict[str, Any], failure: str | None) -> None:
        if self._ended:
            return
        self._ended = True
        span = self._span
        try:
            if span is not None and self._recording:
                status = self.telemetry._api.trace.StatusCode
                span.set_attributes(attributes)
                if failure is None:
                    span.set_status(status.OK)
                else:
                    span.set_status(status.ERROR, failure)
        finally:
            if span is not None:
                span.end()
        if self._policy_error:
            self.telemetry._instruments.policy_errors.add(1, self.telemetry._label(self._tool))

    @_harmless
    def _measure_wait(self, answer: AuditAction) -> None:
        if self._waited is not None:
            labels = {**self.telemetry._label(self._tool), "edictum.decision": str(answer)}
            self.telemetry._instruments.waits.record(self._waited, labels)

    @_harmless
    def _measure(self, decided: str) -> None:
        took = (perf_counter() - (self._began or 0.0)) * 1000
        instruments = self.telemetry._instruments
        label = self.telemetry._label(self._tool)
        (instruments.denied if decided == "denied" else instruments.allowed).add(1, label)
        if self._would is not None:
            instruments.would_deny.add(1, label)
        if self._waited is not None:  # how long a person took is not known otherwise
            instruments.evaluation.record(max(took - self._waited, 0.0), label)

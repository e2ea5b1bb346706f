"""
A governed call that OpenTelemetry sees.

Loaded only where OpenTelemetry is in use.  The sequence itself knows nothing of it: this class begins the span before
the way to the tool and ends it at every way out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from edictum.audit import AuditAction, EventParts
from edictum.call_state import PrincipalSource, Steps
from edictum.decision_log import CallLog, DecisionLog
from edictum.engine.outcome import PreDecision
from edictum.errors import EdictumDenied
from edictum.sync_call import SyncCall
from edictum.telemetry import telemetry_in_use
from edictum.tool_call import Principal, ToolCall
from edictum.tool_span import ToolSpan

if TYPE_CHECKING:
    from edictum.guard_parts import GuardParts


def traced_call(
    guard: GuardParts,
    tool_name: str,
    args: Mapping[str, Any],
    session_id: str | None,
    principal: Principal | PrincipalSource | None,
    fields: Mapping[str, Any],
) -> SyncCall:
    """
    The object for one call, traced if there is anything to report to.

    Raises:
        ValueError: The session id is not valid.
    """
    telemetry = telemetry_in_use(guard._telemetry)
    if telemetry is None:
        return SyncCall(guard, tool_name, args, session_id, principal, fields)
    call = TracedCall(guard, tool_name, args, session_id, principal, fields)
    call._span = ToolSpan(telemetry, tool_name, guard._decision_log.text)
    return call


class TracedCall(SyncCall):
    """
    A call with a span.
    """

    __slots__ = ("_span",)

    _span: ToolSpan

    async def run(self, tool: Callable[..., Any], *, in_thread: bool = False) -> Any:
        """
        See :meth:`GovernedCall.run`; the span is current meanwhile.
        """
        with self._span:
            return await super().run(tool, in_thread=in_thread)

    def run_sync(self, tool: Callable[..., Any]) -> Any:
        """
        See :meth:`SyncCall.run_sync`; the span is current meanwhile.
        """
        with self._span:
            return super().run_sync(tool)

    def _way_to_tool(self) -> Steps:
        if self._stage != "new":
            raise self._misused("new")
        span = self._span
        span.start()
        try:
            yield from super()._way_to_tool() or ()
        except EdictumDenied:
            span.denied()
            raise
        except BaseException as error:
            span.end(error)
            raise
        span.allowed(self.decision, observing=self._state.mode == "observe")

    def _way_back(self, value: Any, error: BaseException | None, failed: bool = False) -> Steps:
        if self._stage != "allowed":
            raise self._misused("allowed")
        try:
            yield from super()._way_back(value, error, failed) or ()
        except BaseException as interruption:
            self._span.end(error or interruption)
            raise
        self._span.end(error)

    def _way_out(self) -> Steps:
        if self._stage != "allowed":
            raise self._misused("allowed")
        try:
            yield from super()._way_out()
        finally:
            self._span.end()

    def _open_log(self) -> CallLog:
        guard, state = self._guard, self._state
        self._span.describe(self.call, state.policy_version)
        return TracedLog(self._span, guard._decision_log, self.call, state.policy_version, state.mode)


class TracedLog(CallLog):
    """
    The events of a call, each shown to its span.
    """

    __slots__ = ("_span",)

    def __init__(self, span: ToolSpan, log: DecisionLog, call: ToolCall, policy_version: str | None, mode: str) -> None:
        super().__init__(log, call, policy_version, mode)
        self._span = span

    def write(
        self, action: AuditAction, *, decision: PreDecision | None = None, **facts: Any
    ) -> Awaitable[bool] | None:
        """
        See :meth:`CallLog.write`.
        """
        if decision is not None:
            self._span.timeout_allows = decision.approval_timeout_action == "allow"
        return super().write(action, decision=decision, **facts)

    def _put(self, parts: EventParts) -> Awaitable[bool] | None:
        self._span.saw(parts)
        return super()._put(parts)

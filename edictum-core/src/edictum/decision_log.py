"""
The one place that builds decision-log events and hands them to sinks.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edictum.audit import SCHEMA_VERSION, AuditAction, AuditEvent, AuditSink
from edictum.clock import Clock
from edictum.redaction import RedactionPolicy
from edictum.session import validate_session_id
from edictum.snapshot import FrozenDict
from edictum.tool_call import Principal, ToolCall

if TYPE_CHECKING:
    from edictum.engine.outcome import PreDecision

logger = logging.getLogger(__name__)

MAX_REASON = 1_000
MAX_RECORDS = 100
MAX_RECORD_CHARS = 12_000

_NOTHING: Mapping[str, Any] = {}


class DecisionLog:
    """
    Writes the events of one guard.

    Everything in an event is redacted before any sink sees it.  A sink that fails never changes a decision
    here: the failure is logged and counted, and the caller learns of it.

    Attributes:
        failures: How many events a sink refused.
    """

    def __init__(self, sink: AuditSink, redaction: RedactionPolicy, clock: Clock) -> None:
        self._sink = sink
        self._redaction = redaction
        self._clock = clock
        self._last_principal: tuple[Principal, dict[str, Any]] | None = None
        self.failures = 0

    def open(self, call: ToolCall, policy_version: str | None, mode: str) -> CallLog:
        """
        The log of one call.
        """
        return CallLog(self, call, policy_version, mode)

    async def send(self, event: AuditEvent) -> bool:
        """
        Give an event to the sinks.

        Returns:
            Whether all of them took it.
        """
        try:
            await self._sink.emit(event)
        except Exception:
            self.failures += 1
            logger.exception("decision log: event %s of call %s was not written", event.action, event.call_id)
            return False
        return True

    def now(self) -> datetime:
        """
        Time of an event.  A broken clock blocks the call but must not lose the event that says so.
        """
        try:
            return self._clock.now()
        except Exception:
            return datetime.now(UTC)

    def args(self, call: ToolCall) -> dict[str, Any]:
        """
        Arguments as they may be logged.
        """
        return self._redaction.redact_event_args(call.args)

    def principal(self, principal: Principal | None) -> dict[str, Any] | None:
        """
        The principal as it may be logged; principals are immutable and most guards see one for long.
        """
        if principal is None:
            return None
        last = self._last_principal
        if last is not None and last[0] is principal:
            return last[1]
        plain = principal.to_dict()
        plain["claims"] = self._redaction.redact_event_args(principal.claims)
        redacted: dict[str, Any] = FrozenDict(self._redaction.redact_tree(plain))
        self._last_principal = (principal, redacted)
        return redacted

    def text(self, text: str | None) -> str | None:
        """
        Free text as it may be logged.
        """
        return None if text is None else self._redaction.redact_text(text, MAX_REASON)

    def records(self, records: list[Any]) -> list[Any]:
        """
        Records of rules or hooks as they may be logged.

        Records of rules that passed hold nothing from the call and are shared between events.
        """
        if all(type(record) is FrozenDict for record in records):
            return records
        kept: list[Any] = []
        room = MAX_RECORD_CHARS
        for record in records[:MAX_RECORDS]:
            if type(record) is not FrozenDict:
                record = self._redaction.redact_tree(record)
                room -= len(json.dumps(record, default=str))
                if room < 0:
                    record = {"name": record.get("name"), "passed": record.get("passed"), "_truncated": True}
            kept.append(record)
        if len(records) > MAX_RECORDS:
            kept.append({"_truncated": True, "dropped": len(records) - MAX_RECORDS})
        return kept

    def tree(self, value: Any) -> Any:
        """
        Nested data as it may be logged.
        """
        return self._redaction.redact_tree(value)


class CallLog:
    """
    The events of one call.

    Attributes:
        events: What was written, in order.
        attempts: Attempts of the session, this call included; kept up to date by the governed call.
        executions: Executions of the session.
    """

    __slots__ = ("_args", "_call", "_log", "_mode", "_policy_version", "attempts", "events", "executions")

    def __init__(self, log: DecisionLog, call: ToolCall, policy_version: str | None, mode: str) -> None:
        self._log = log
        self._call = call
        self._policy_version = policy_version
        self._mode = mode
        self._args: dict[str, Any] | None = None
        self.events: list[AuditEvent] = []
        self.attempts = 0
        self.executions = 0

    async def write(
        self,
        action: AuditAction,
        *,
        decision: PreDecision | None = None,
        source: str | None = None,
        name: str | None = None,
        reason: str | None = None,
        policy_error: bool = False,
        observed: str | None = None,
        contracts: list[Any] | None = None,
        metadata: Mapping[str, Any] = _NOTHING,
        tool_success: bool | None = None,
        postconditions_passed: bool | None = None,
        duration_ms: int = 0,
        error: str | None = None,
        warnings: list[str] | None = None,
    ) -> bool:
        """
        Write one event.

        Args:
            action: What happened.
            decision: Where the records of hooks and rules come from, for decision events.
            source: ``decision_source``.
            name: ``decision_name``.
            reason: Text for the agent.
            policy_error: Whether something could not be judged.
            observed: What enforcement would have done; makes the event an observation.
            contracts: Records of rules, for events without ``decision``.
            metadata: Further facts.
            tool_success: Outcome of the tool.
            postconditions_passed: Whether all enforcing post rules passed.
            duration_ms: How long the tool ran.
            error: Text of the tool's failure.
            warnings: Texts of post rules.

        Returns:
            Whether every sink took the event.
        """
        log = self._log
        call = self._call
        if self._args is None:
            self._args = log.args(call)
        if decision is not None:
            contracts = decision.contracts_evaluated
        if call.notes:
            metadata = {**metadata, "notes": list(call.notes)}
        # By position and in field order: this is made twice for every allowed call.
        event = AuditEvent(
            SCHEMA_VERSION,
            log.now(),
            call.run_id,
            call.call_id,
            call.call_index,
            call.parent_call_id,
            call.run_id,
            _parent_session(call),
            call.tool_name,
            self._args,
            call.side_effect,
            call.environment,
            log.principal(call.principal),
            action,
            source,
            name,
            log.text(reason),
            log.records(decision.hooks_evaluated) if decision is not None else [],
            log.records(contracts) if contracts else [],
            None,
            tool_success,
            postconditions_passed,
            duration_ms,
            log.text(error),
            None,
            self.attempts,
            self.executions,
            self._mode if observed is None or tool_success is not None else "observe",
            self._policy_version,
            policy_error,
            log.tree(dict(metadata)) if metadata else None,
            observed,
            [log.text(warning) for warning in warnings] if warnings else None,
        )
        self.events.append(event)
        return await log.send(event)


def _parent_session(call: ToolCall) -> str | None:
    if not call.metadata:
        return None
    parent = call.metadata.get("parent_session_id")
    try:
        return validate_session_id(parent)
    except ValueError:
        return None

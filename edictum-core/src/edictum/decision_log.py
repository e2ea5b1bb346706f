"""
The one place that builds decision-log events and hands them to sinks.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from edictum.audit import AuditAction, AuditEvent, AuditSink, EventParts
from edictum.clock import Clock
from edictum.engine.outcome import PostDecision, PreDecision
from edictum.redaction import RedactionPolicy
from edictum.session import validate_session_id
from edictum.sinks import CollectingAuditSink
from edictum.snapshot import FrozenDict, FrozenList
from edictum.tool_call import Principal, ToolCall

logger = logging.getLogger(__name__)

MAX_REASON = 1_000
MAX_RECORDS = 100
MAX_RECORD_CHARS = 12_000
FEW_RECORDS = 8  # messages of so few are small by their own limit

NO_RECORDS = FrozenList()

_NOTHING: Mapping[str, Any] = {}


class DecisionLog:
    """
    Writes the events of one guard.

    Everything in an event is redacted before any sink sees it.  A sink that fails never changes a decision
    here: the failure is logged and counted, and the caller learns of it.

    Args:
        sink: Where events go.
        redaction: What counts as secret.
        clock: Source of time.

    Attributes:
        failures: How many events a sink refused.
        collect: Takes an event at once; None when sinks must be awaited.
    """

    def __init__(self, sink: AuditSink, redaction: RedactionPolicy, clock: Clock) -> None:
        self._sink = sink
        # The usual sink of a guard without others takes events without waiting.
        self.collect = sink.collect if type(sink) is CollectingAuditSink else None
        self._redaction = redaction
        self._now = clock.now
        self._last_principal: tuple[Principal, dict[str, Any]] | None = None
        self.failures = 0

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
            return self._now()
        except Exception:
            return datetime.now(UTC)

    def principal(self, principal: Principal) -> dict[str, Any]:
        """
        The principal as it may be logged; principals are immutable and most guards see one for long.
        """
        last = self._last_principal
        if last is not None and last[0] is principal:
            return last[1]
        plain = principal.to_dict()
        redacted: dict[str, Any] = FrozenDict(self.tree(plain))
        self._last_principal = (principal, redacted)
        return redacted

    # A redaction policy of the user's own may fail; then nothing is shown, and the event is still written.

    def args(self, call: ToolCall) -> dict[str, Any]:
        """
        Arguments as they may be logged.
        """
        try:
            return self._redaction.redact_event_args(call.args)
        except Exception:
            logger.exception("redaction failed; the arguments are withheld")
            return {"_redacted": "redaction failed"}

    def text(self, text: str) -> str:
        """
        Free text as it may be logged.
        """
        try:
            return self._redaction.redact_text(text, MAX_REASON)
        except Exception:
            logger.exception("redaction failed; a text is withheld")
            return "[REDACTED]"

    def records(self, records: Sequence[Any]) -> list[Any]:
        """
        Records of rules or hooks as they may be logged.

        Those of rules that passed hold nothing from the call.
        """
        kept: list[Any] = []
        room = MAX_RECORD_CHARS
        for record in records[:MAX_RECORDS]:
            if type(record) is not FrozenDict:
                record = self.tree(record)
                if len(records) > FEW_RECORDS:
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
        try:
            return self._redaction.redact_tree(value)
        except Exception:
            logger.exception("redaction failed; a value is withheld")
            return {"_redacted": "redaction failed"}


class CallLog:
    """
    The events of one call.

    Args:
        log: Of the guard.
        call: The call.
        policy_version: Identity of the ruleset.
        mode: Mode of the guard.

    Attributes:
        written: What was written, in order; not yet built where no sink needed it.
        attempts: Attempts of the session, this call included; kept up to date by the governed call.
        executions: Executions of the session.
    """

    __slots__ = ("_fields", "_log", "_mode", "_notes", "_policy_version", "attempts", "executions", "written")

    def __init__(self, log: DecisionLog, call: ToolCall, policy_version: str | None, mode: str) -> None:
        self._log = log
        self._mode = mode
        self._policy_version = policy_version
        self._notes = call.notes
        run_id = call.run_id
        # What all events of the call share, from ``run_id`` to ``principal``.
        self._fields = (
            run_id,
            call.call_id,
            call.call_index,
            call.parent_call_id,
            run_id,
            _parent_session(call) if call.metadata else None,
            call.tool_name,
            log.args(call),
            call.side_effect,
            call.environment,
            log.principal(call.principal) if call.principal is not None else None,
        )
        self.written: list[AuditEvent | EventParts] = []
        self.attempts: float = 0
        self.executions: float = 0

    @property
    def events(self) -> list[AuditEvent]:
        """
        What was written, in order.
        """
        return [part if isinstance(part, AuditEvent) else AuditEvent.from_parts(part) for part in self.written]

    # The three that follow return None when the sinks have taken the event, else what must be awaited for it.

    def allowed(self, decision: PreDecision) -> Awaitable[bool] | None:
        """
        Write that the call may run.
        """
        log = self._log
        hooks = log.records(decision.hooks_evaluated) if decision.hooks_evaluated else NO_RECORDS
        records = decision.contracts_evaluated
        rest = (
            AuditAction.CALL_ALLOWED, None, None, None,
            hooks, records if decision.clean else log.records(records), None,
            None, None, 0, None, None,
            self.attempts, self.executions, self._mode, self._policy_version, False,
            {"notes": list(self._notes)} if self._notes else None, None, None,
        )  # fmt: skip
        return self._put((log.now(), self._fields, rest))

    def ended(self, post: PostDecision, duration_ms: int, error: str | None) -> Awaitable[bool] | None:
        """
        Write how the tool ended.
        """
        log = self._log
        records = post.contracts_evaluated
        success = post.tool_success
        rest = (
            AuditAction.CALL_EXECUTED if success else AuditAction.CALL_FAILED, None, None, None,
            NO_RECORDS, records if post.clean else log.records(records), None,
            success, post.postconditions_passed, duration_ms, None if error is None else log.text(error), None,
            self.attempts, self.executions, self._mode, self._policy_version, post.policy_error,
            {"notes": list(self._notes)} if self._notes else None,
            post.observed_rules[0].rule.action if post.observed_rules else None,
            [log.text(warning) for warning in post.warnings] if post.warnings else None,
        )  # fmt: skip
        return self._put((log.now(), self._fields, rest))

    def write(
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
    ) -> Awaitable[bool] | None:
        """
        Write any other event.

        Args:
            action: What happened.
            decision: Where the records of hooks and rules come from.
            source: ``decision_source``.
            name: ``decision_name``.
            reason: Text for the agent.
            policy_error: Whether something could not be judged.
            observed: What enforcement would have done; makes the event an observation.
            contracts: Records of rules, without ``decision``.
            metadata: Further facts.
        """
        log = self._log
        records = decision.contracts_evaluated if decision is not None else contracts
        hooks = log.records(decision.hooks_evaluated) if decision is not None else NO_RECORDS
        facts = dict(metadata)
        if self._notes:
            facts["notes"] = list(self._notes)
        rest = (
            action, source, name, None if reason is None else log.text(reason),
            hooks, log.records(records) if records else NO_RECORDS, None,
            None, None, 0, None, None,
            self.attempts, self.executions, self._mode if observed is None else "observe", self._policy_version,
            policy_error, log.tree(facts) if facts else None, observed, None,
        )  # fmt: skip
        return self._put((log.now(), self._fields, rest))

    def _put(self, parts: EventParts) -> Awaitable[bool] | None:
        collect = self._log.collect
        if collect is not None:
            self.written.append(parts)
            collect(parts)
            return None
        event = AuditEvent.from_parts(parts)
        self.written.append(event)
        return self._log.send(event)


def _parent_session(call: ToolCall) -> str | None:
    try:
        return validate_session_id(call.metadata.get("parent_session_id"))
    except ValueError:
        return None

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
from edictum.clock import Clock, SystemClock, quick_now
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
MAX_CLEAN_TEXTS = 256
FEW_RECORDS = 8  # messages of so few are small by their own limit

NO_RECORDS = FrozenList()

_NOTHING: Mapping[str, Any] = {}
_NO_TEXTS: Mapping[str, str] = {}
_FREE_TEXTS = ("message", "reason", "error_detail")


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
        moment: Gives the time of an event for :data:`EventParts`, whatever the clock does.
        failures: How many events a sink refused.
        collect: Takes an event at once; None when sinks must be awaited.
    """

    def __init__(self, sink: AuditSink, redaction: RedactionPolicy, clock: Clock) -> None:
        self._sink = sink
        # The usual sink of a guard without others takes events without waiting.
        self.collect = sink.collect if type(sink) is CollectingAuditSink else None
        self._redaction = redaction
        self._clock = clock
        self.moment = quick_now(clock) if type(clock) is SystemClock else self.now
        # The same few messages come again and again; what holds a secret is not kept.
        self._clean_texts: set[str] = set()
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
        The time, also when the clock is broken: that blocks the call but must not lose the event that says so.
        """
        try:
            return self._clock.now()
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
        if text in self._clean_texts:
            return text
        try:
            shown = self._redaction.redact_text(text, MAX_REASON)
        except Exception:
            logger.exception("redaction failed; a text is withheld")
            return "[REDACTED]"
        if shown == text:
            if len(self._clean_texts) >= MAX_CLEAN_TEXTS:
                self._clean_texts.clear()
            self._clean_texts.add(text)
        return shown

    def records(self, records: Sequence[Any], known: Mapping[str, str] = _NO_TEXTS) -> list[Any]:
        """
        Records of rules or hooks as they may be logged.

        What is a :class:`FrozenDict` comes from the ruleset and holds nothing from the call.

        Args:
            records: As the engine made them.
            known: Texts that have been redacted already.
        """
        kept: list[Any] = []
        room = MAX_RECORD_CHARS
        for record in records[:MAX_RECORDS]:
            if type(record) is not FrozenDict:
                record = dict(record)
                for name in _FREE_TEXTS:
                    text = record.get(name)
                    if text is not None:
                        record[name] = known.get(text) or self.text(text)
                metadata = record.get("metadata")
                if metadata is not None and type(metadata) is not FrozenDict:
                    record["metadata"] = self.tree(metadata)
                if len(records) > FEW_RECORDS or type(metadata) is dict:
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
        workflow: Snapshot of the session's workflow, for the events that follow; None when it is in none.
    """

    __slots__ = ("_fields", "_log", "attempts", "executions", "workflow", "written")

    def __init__(self, log: DecisionLog, call: ToolCall, policy_version: str | None, mode: str) -> None:
        self._log = log
        run_id = call.run_id
        principal = call.principal
        # What all events of the call share, see EventParts.
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
            None if principal is None else log.principal(principal),
            mode,
            policy_version,
            self._metadata(call) if call.notes or call.caller else None,
        )
        self.written: list[AuditEvent | EventParts] = []
        self.attempts: float = 0
        self.executions: float = 0
        self.workflow: Mapping[str, Any] | None = None

    def _metadata(self, call: ToolCall) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if call.notes:
            facts["notes"] = list(call.notes)
        if call.caller:
            facts["caller"] = self._log.text(call.caller)
        return facts

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
        records = decision.contracts_evaluated
        more = {"hooks_evaluated": log.records(decision.hooks_evaluated)} if decision.hooks_evaluated else None
        if not decision.clean:
            records = log.records(records)
        return self._put(
            (log.moment(), self._fields, AuditAction.CALL_ALLOWED, records, self.attempts, self.executions, 0, more)
        )

    def ended(self, post: PostDecision, duration_ms: int, error: str | None) -> Awaitable[bool] | None:
        """
        Write how the tool ended.
        """
        log = self._log
        records = post.contracts_evaluated
        action = AuditAction.CALL_EXECUTED
        more: dict[str, Any] | None = None
        if not post.clean:
            records = log.records(records)
            more = {"postconditions_passed": post.postconditions_passed, "policy_error": post.policy_error}
            if post.warnings:
                more["warnings"] = [log.text(warning) for warning in post.warnings]
            if post.observed_rules:
                more["observed_action"] = post.observed_rules[0].rule.action
        if error is not None:
            action = AuditAction.CALL_FAILED
            more = {**(more or {}), "error": log.text(error)}
        moment = log.moment()
        return self._put((moment, self._fields, action, records, self.attempts, self.executions, duration_ms, more))

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
        workflow: Mapping[str, Any] | None = None,
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
            workflow: Snapshot to show instead of :attr:`workflow`.
        """
        log = self._log
        records = decision.contracts_evaluated if decision is not None else contracts
        more: dict[str, Any] = {"decision_source": source, "decision_name": name, "policy_error": policy_error}
        known = _NO_TEXTS
        if reason is not None:
            more["reason"] = log.text(reason)
            known = {reason: more["reason"]}
        if decision is not None and decision.hooks_evaluated:
            more["hooks_evaluated"] = log.records(decision.hooks_evaluated, known)
        if metadata:
            more["metadata"] = log.tree(dict(metadata))
        if workflow is not None:
            more["workflow"] = log.tree(dict(workflow))
        if observed is not None:
            more["mode"] = "observe"
            more["observed_action"] = observed
        found = log.records(records, known) if records else NO_RECORDS
        return self._put((log.moment(), self._fields, action, found, self.attempts, self.executions, 0, more))

    def _put(self, parts: EventParts) -> Awaitable[bool] | None:
        log = self._log
        if self.workflow is not None:
            parts = (*parts[:7], {"workflow": log.tree(dict(self.workflow)), **(parts[7] or {})})
        if log.collect is not None:
            self.written.append(parts)
            log.collect(parts)
            return None
        event = AuditEvent.from_parts(parts)
        self.written.append(event)
        return log.send(event)


def _parent_session(call: ToolCall) -> str | None:
    try:
        return validate_session_id(call.metadata.get("parent_session_id"))
    except ValueError:
        return None

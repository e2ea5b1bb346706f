"""
The decision log: one :class:`AuditEvent` per thing that was decided or that a tool did.

An event reaches its sinks already redacted and capped, so nothing here looks into values.  The names of
fields and actions are a published format: they are read by other languages and by years of stored logs, so
fields are only ever added at the end, and none is renamed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from json import encoder
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from edictum.clock import as_datetime
from edictum.snapshot import FrozenDict, FrozenList

if TYPE_CHECKING:
    from edictum.redaction import RedactionPolicy

SCHEMA_VERSION = "0.4.0"

_MAX_DEPTH = 64
# Python refuses to print longer integers in decimal (sys.get_int_max_str_digits).
_MAX_INT_BITS = 4096


class AuditAction(StrEnum):
    """
    What an event reports.

    The values are written to logs.  Looking a member up by value also accepts the canonical names of
    :func:`canonical_action`, so ``AuditAction("call_blocked") is AuditAction.CALL_DENIED``.
    """

    CALL_DENIED = "call_denied"
    CALL_WOULD_DENY = "call_would_deny"
    CALL_ALLOWED = "call_allowed"
    CALL_EXECUTED = "call_executed"
    CALL_FAILED = "call_failed"
    CALL_APPROVAL_REQUESTED = "call_approval_requested"
    CALL_APPROVAL_GRANTED = "call_approval_granted"
    CALL_APPROVAL_DENIED = "call_approval_denied"
    CALL_APPROVAL_TIMEOUT = "call_approval_timeout"
    WORKFLOW_STAGE_ADVANCED = "workflow_stage_advanced"
    WORKFLOW_COMPLETED = "workflow_completed"
    WORKFLOW_STATE_UPDATED = "workflow_state_updated"
    POSTCONDITION_WARNING = "postcondition_warning"

    @classmethod
    def _missing_(cls, value: object) -> AuditAction | None:
        for wire, canonical in _CANONICAL.items():
            if value == canonical:
                return cls(wire)
        return None


# Wire values of this package that the shared vocabulary of all languages calls otherwise.
_CANONICAL = {
    "call_denied": "call_blocked",
    "call_would_deny": "call_would_block",
    "call_approval_requested": "call_asked",
    "call_approval_denied": "call_approval_blocked",
}


def canonical_action(value: AuditAction | str) -> str:
    """
    Name of an action in the vocabulary that all languages share.

    Args:
        value: An action, or its name in either vocabulary.

    Returns:
        For example ``call_blocked`` for both ``call_denied`` and ``call_blocked``.

    Raises:
        ValueError: No such action.
    """
    action = AuditAction(value)
    return _CANONICAL.get(action, str(action))


EventParts: TypeAlias = tuple[
    datetime | float, tuple[Any, ...], AuditAction, Any, float, float, int, dict[str, Any] | None
]
"""
An event that nobody has read yet: time, or seconds since 1970; what all events of a call share (the fields
from ``run_id`` to ``principal``, then mode, policy version and metadata); action; records of rules; attempts;
executions; duration; and the other fields by name.
"""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class AuditEvent:
    """
    One line of the decision log.

    Attributes:
        schema_version: Version of this list of fields.
        timestamp: When it happened; without a time zone it is taken as UTC.
        run_id: Session id of the run.
        call_id: Id of the tool call.
        call_index: Position in the run, where the caller counts.
        parent_call_id: The call during which this one was made.
        session_id: The session whose counters apply.
        parent_session_id: The session that started this one.
        tool_name: Name of the tool.
        tool_args: Arguments after redaction.
        side_effect: Side-effect class of the tool.
        environment: For example ``production``.
        principal: The six fields of the principal.
        action: What the event reports.
        decision_source: Kind of check that decided.
        decision_name: The rule, hook or limit that decided.
        reason: Why, in words for the agent.
        hooks_evaluated: Record per hook that was asked.
        contracts_evaluated: Record per rule that was evaluated.
        workflow: Snapshot of the workflow.
        tool_success: Whether the tool did its work; None before it ran.
        postconditions_passed: Whether all post rules passed; None before the tool ran.
        duration_ms: How long the tool ran.
        error: Text of the tool's failure.
        result_summary: Shortened text of the tool's result.
        session_attempt_count: Attempts counted in the session.
        session_execution_count: Executions counted in the session.
        mode: ``enforce`` or ``observe``.
        policy_version: Digest of the ruleset.
        policy_error: Whether a rule could not be evaluated.
        metadata: Further facts, for example who approved.
        observed_action: What would have happened under ``enforce``.
        warnings: Messages of post rules that warned.
    """

    schema_version: str = SCHEMA_VERSION
    timestamp: datetime = field(default_factory=_now)
    run_id: str = ""
    call_id: str = ""
    call_index: int = 0
    parent_call_id: str | None = None
    session_id: str | None = None
    parent_session_id: str | None = None
    tool_name: str = ""
    tool_args: dict[str, Any] = field(default_factory=dict)
    side_effect: str = ""
    environment: str = ""
    principal: dict[str, Any] | None = None
    action: AuditAction = AuditAction.CALL_DENIED
    decision_source: str | None = None
    decision_name: str | None = None
    reason: str | None = None
    hooks_evaluated: list[Any] = field(default_factory=list)
    contracts_evaluated: list[Any] = field(default_factory=list)
    workflow: dict[str, Any] | None = None
    tool_success: bool | None = None
    postconditions_passed: bool | None = None
    duration_ms: int = 0
    error: str | None = None
    result_summary: str | None = None
    session_attempt_count: int = 0
    session_execution_count: int = 0
    mode: str = "enforce"
    policy_version: str | None = None
    policy_error: bool = False
    metadata: dict[str, Any] | None = None
    observed_action: str | None = None
    warnings: list[Any] | None = None

    @classmethod
    def from_parts(cls, parts: EventParts) -> AuditEvent:
        """
        Build the event from what a guard noted about it.
        """
        moment, call, action, records, attempts, executions, duration_ms, more = parts
        event = cls(SCHEMA_VERSION, as_datetime(moment), *call[:11], action)  # type: ignore[call-arg]
        # What follows ``principal`` among the shared facts.
        event.mode, event.policy_version, event.metadata = call[11:]
        event.contracts_evaluated = records
        event.session_attempt_count = int(attempts)
        event.session_execution_count = int(executions)
        event.duration_ms = duration_ms
        if action in (AuditAction.CALL_EXECUTED, AuditAction.CALL_FAILED):
            event.tool_success = action is AuditAction.CALL_EXECUTED
            event.postconditions_passed = True
        if more is not None:
            for name, value in more.items():
                setattr(event, name, {**(event.metadata or {}), **value} if name == "metadata" else value)
        return event

    def to_dict(self) -> dict[str, Any]:
        """
        The event as plain data, keys in field order.

        Written out because ``dataclasses.asdict`` copies every nested value and costs ten times as much.

        Returns:
            A new dict; nested values are those of the event, not copies, so treat them as read-only.
        """
        return {
            "schema_version": self.schema_version,
            "timestamp": _time_text(self.timestamp),
            "run_id": self.run_id,
            "call_id": self.call_id,
            "call_index": self.call_index,
            "parent_call_id": self.parent_call_id,
            "session_id": self.session_id,
            "parent_session_id": self.parent_session_id,
            "tool_name": self.tool_name,
            "tool_args": self.tool_args,
            "side_effect": str(self.side_effect),
            "environment": self.environment,
            "principal": self.principal,
            "action": str(self.action),
            "decision_source": self.decision_source,
            "decision_name": self.decision_name,
            "reason": self.reason,
            "hooks_evaluated": self.hooks_evaluated,
            "contracts_evaluated": self.contracts_evaluated,
            "workflow": self.workflow,
            "tool_success": self.tool_success,
            "postconditions_passed": self.postconditions_passed,
            "duration_ms": self.duration_ms,
            "error": self.error,
            "result_summary": self.result_summary,
            "session_attempt_count": self.session_attempt_count,
            "session_execution_count": self.session_execution_count,
            "mode": self.mode,
            "policy_version": self.policy_version,
            "policy_error": self.policy_error,
            "metadata": self.metadata,
            "observed_action": self.observed_action,
            "warnings": self.warnings,
        }

    def to_json(self) -> str:
        """
        The event as one line of JSON without a newline; see :func:`to_json_line`.
        """
        # Field by field, because most are empty or were written out for the event before.
        try:
            fields = [f'{{"schema_version":{_quote(self.schema_version)},"timestamp":"{_time_text(self.timestamp)}"']
            for empty, label, value in zip(_EMPTY_FIELDS, _LABELS, _read_fields(self), strict=True):
                if value is None:
                    fields.append(empty)
                elif isinstance(value, str):
                    fields.append(label + _quote(value))
                else:
                    fields.append(label + _value_text(value))
        except (TypeError, ValueError, RecursionError):
            return to_json_line(self.to_dict())
        line = ",".join(fields) + "}"
        return line if _needs_no_care(line) else to_json_line(self.to_dict())


_FIELDS = tuple(AuditEvent.__dataclass_fields__)[2:]
_LABELS = tuple(f'"{name}":' for name in _FIELDS)
_EMPTY_FIELDS = tuple(label + "null" for label in _LABELS)
_read_fields = attrgetter(*_FIELDS)


def _time_text(moment: datetime) -> str:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat(timespec="microseconds")


# The same read-only values come again and again: both events of a call show its arguments, all of a plan its rules.
_read_only_texts: dict[int, tuple[Any, str]] = {}
_MAX_TEXTS = 64


def _value_text(value: Any) -> str:
    """
    A field's value as compact JSON in ASCII.

    Raises:
        TypeError: JSON cannot express it as it is.
        ValueError: Likewise.
        RecursionError: Likewise.
    """
    kind = type(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value)
    if kind is not FrozenDict and kind is not FrozenList:
        return _ascii_json(value)
    known = _read_only_texts.get(id(value))
    if known is not None:
        return known[1]  # held there, so that no other value can have its id
    text = _ascii_json(value)
    if len(_read_only_texts) >= _MAX_TEXTS:
        _read_only_texts.clear()
    _read_only_texts[id(value)] = (value, text)
    return text


@runtime_checkable
class AuditSink(Protocol):
    """
    Where events go.

    A sink that cannot record an event raises: on the way to a tool this blocks the call.  ``emit`` may be
    called from several event loops and threads at once.
    """

    async def emit(self, event: AuditEvent) -> None:
        """
        Record one event.
        """
        ...


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
# A fifth faster; enough for a text in which nothing had to be escaped.  A cycle ends as a RecursionError.
_ASCII_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=str, check_circular=False)
_quote: Callable[[str], str] = encoder.encode_basestring_ascii
# JSON leaves these raw inside strings, but DEL and C1 controls steer terminals, bidirectional and
# zero-width controls disguise text, the separators U+0085, U+2028 and U+2029 end a line for some readers,
# and lone surrogates have no UTF-8 form.
_UNSAFE_IN_LINE = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def _prepared_encoder() -> Callable[[Any], str]:
    # The library's encoder makes its machine anew for each value, which takes longer than most values.
    make = encoder.c_make_encoder  # type: ignore[attr-defined]
    if make is None:
        return _ASCII_ENCODER.encode
    machine = make(None, str, _quote, None, ":", ",", False, False, False)
    return lambda value: "".join(machine(value, 0))


_ascii_json = _prepared_encoder()


def _needs_no_care(text: str) -> bool:
    """
    Whether a text in ASCII JSON holds nothing that was escaped, or had to be.
    """
    return "\\u" not in text and "\x7f" not in text


def to_json_line(payload: dict[str, Any]) -> str:
    """
    Encode as compact JSON that is one line for every reader and safe to show on a terminal.

    Values that JSON cannot express (also NaN and infinities, which other parsers refuse) become their
    text.  Other letters than ASCII stay readable; see ``_UNSAFE_IN_LINE`` for the few that are escaped.

    Args:
        payload: What to encode.

    Returns:
        The text, without a newline, encodable as UTF-8.
    """
    try:
        text = _ascii_json(payload)
        if _needs_no_care(text):
            return text
        text = _ENCODER.encode(payload)
    except (TypeError, ValueError, RecursionError):
        # A key that is not text, a NaN, a huge integer, a cycle: rare, so only then pay for a copy.
        text = _ENCODER.encode(_plain(payload))
    return _UNSAFE_IN_LINE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def log_line(event: AuditEvent, redaction: RedactionPolicy | None) -> str:
    """
    What a sink writes for an event: one line of JSON without a line break.

    Args:
        event: The event.
        redaction: A policy of the sink's own, applied on top of the redaction that events arrive with.
    """
    if redaction is None:
        return event.to_json()
    return to_json_line(redaction.cap_payload(redaction.redact_tree(event.to_dict())))


def _plain(value: Any, depth: int = 0) -> Any:
    """
    Copy of a value that JSON can express; what lies deeper than ``_MAX_DEPTH`` is replaced by a note.
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _MAX_INT_BITS else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (dict, list, tuple)) and depth >= _MAX_DEPTH:
        return "[nested too deep]"
    if isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    return str(value)

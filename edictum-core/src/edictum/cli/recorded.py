"""
Reading the decisions back out of a decision log.

A log can be larger than memory, so it is read line by line.  It can come from this package, from the published one or
from the family's other languages, so both vocabularies of actions are read.  A call can have several events; the first
one that decides about it counts.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeAlias

from edictum.audit import AuditAction
from edictum.ruleset.composition import CANDIDATE
from edictum.tool_call import Principal

Verdict: TypeAlias = Literal["allow", "block", "ask"]

MAX_LINE = 16 * 1024 * 1024
# Lines whose problem is remembered; the others are only counted.
MAX_MALFORMED = 1_000
# Calls of which an event is remembered, so that memory does not grow with the log.
MAX_OPEN_CALLS = 10_000

_VERDICTS: dict[AuditAction, Verdict] = {
    AuditAction.CALL_ALLOWED: "allow",
    AuditAction.CALL_DENIED: "block",
    AuditAction.CALL_APPROVAL_REQUESTED: "ask",
}
_ENDINGS = (AuditAction.CALL_EXECUTED, AuditAction.CALL_FAILED)
_PRINCIPAL_FIELDS = ("user_id", "service_id", "org_id", "role", "ticket_ref")


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """
    A call and what was decided about it.

    Attributes:
        line: 1-based line of the deciding event.
        call_id: Id of the call; may be empty.
        tool: Name of the tool.
        args: Its arguments as they were logged, redacted.
        environment: Name of the environment.
        principal: On whose behalf, or None.
        verdict: What was decided.
        observed: Whether the guard only observed: a block or an ask that did not come about.
        rule: What decided, or None.
        source: Kind of check that decided, or None.
        policy_version: Identity of the ruleset that decided, or None.
    """

    line: int
    call_id: str
    tool: str
    args: dict[str, Any]
    environment: str
    principal: Principal | None
    verdict: Verdict
    observed: bool
    rule: str | None
    source: str | None
    policy_version: str | None


class MalformedLineError(ValueError):
    """
    A line that is no event of a decision log.
    """


@dataclass(slots=True)
class LogReader:
    """
    Reads the decisions of one log.

    Args:
        path: The file.

    Attributes:
        skipped: How many events were not decisions, by action.
        malformed: How many lines could not be read.
        malformed_lines: The first of them: line and what is wrong.
    """

    path: str
    skipped: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
    malformed_lines: list[tuple[int, str]] = field(default_factory=list)
    # A would-be decision waits here for a real one, which follows if only a rule observed and not the guard.
    _waiting: OrderedDict[str, RecordedCall] = field(default_factory=OrderedDict)
    _decided: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def calls(self) -> Iterator[RecordedCall]:
        """
        The decisions, in the order in which they are certain to be the ones that count.

        Raises:
            OSError: The file cannot be read.
        """
        with open(self.path, "rb") as stream:
            number = 0
            while line := stream.readline(MAX_LINE + 1):
                number += 1
                try:
                    if len(line) > MAX_LINE:
                        while line and not line.endswith(b"\n"):
                            line = stream.readline(MAX_LINE)
                        raise MalformedLineError(f"the line is longer than {MAX_LINE} bytes")
                    if line.strip(b" \t\r\n\xef\xbb\xbf"):
                        yield from self._event(_parse(line), number)
                except MalformedLineError as error:
                    self.refuse(number, error)
        yield from self._waiting.values()

    def refuse(self, number: int, error: MalformedLineError) -> None:
        """
        Count a line that cannot be used.
        """
        self.malformed += 1
        if len(self.malformed_lines) < MAX_MALFORMED:
            self.malformed_lines.append((number, str(error)))

    def _event(self, event: dict[str, Any], number: int) -> Iterator[RecordedCall]:
        try:
            action = AuditAction(event.get("action", ""))
        except ValueError:
            self.skipped["other"] += 1
            return
        call_id = _text(event, "call_id", "")
        # Ids that a model or framework gave are its own only within a session.
        key = f"{_text(event, 'session_id', '')}\n{call_id}" if call_id else ""
        if action in _VERDICTS or action is AuditAction.CALL_WOULD_DENY:
            call = _read_call(event, action, call_id, number)
            if _text(event, "decision_name", "").endswith(CANDIDATE) or key in self._decided:
                self.skipped[action] += 1
            elif action is AuditAction.CALL_WOULD_DENY and key:
                yield from self._wait(key, call)
            else:
                self._waiting.pop(key, None)
                self._note_decided(key)
                yield call
            return
        self.skipped[action] += 1
        if action in _ENDINGS:
            self._decided.pop(key, None)  # some models use an id again for their next call
            if key in self._waiting:
                yield self._waiting.pop(key)

    def _wait(self, key: str, call: RecordedCall) -> Iterator[RecordedCall]:
        self._waiting.pop(key, None)  # the last one is that of the guard
        self._waiting[key] = call
        if len(self._waiting) > MAX_OPEN_CALLS:
            yield self._waiting.popitem(last=False)[1]

    def _note_decided(self, key: str) -> None:
        if key:
            self._decided[key] = None
            if len(self._decided) > MAX_OPEN_CALLS:
                self._decided.popitem(last=False)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        event = _DECODER.decode(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise MalformedLineError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedLineError(f"it is not JSON at column {error.colno}") from None
    except (RecursionError, ValueError):  # int() refuses more digits than sys.get_int_max_str_digits()
        raise MalformedLineError("it holds a value that cannot be read") from None
    if not isinstance(event, dict):
        raise MalformedLineError("it is not a JSON object")
    return event


def _no_constant(word: str) -> NoReturn:
    raise ValueError(word)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _read_call(event: dict[str, Any], action: AuditAction, call_id: str, number: int) -> RecordedCall:
    args = event.get("tool_args")
    if not isinstance(args, dict):
        raise MalformedLineError('the event has no "tool_args", a JSON object')
    if not isinstance(event.get("tool_name"), str):
        raise MalformedLineError('the event has no "tool_name", a text')
    observed = action is AuditAction.CALL_WOULD_DENY
    verdict = _VERDICTS.get(action, "ask" if event.get("observed_action") == "ask" else "block")
    return RecordedCall(
        line=number,
        call_id=call_id,
        tool=event["tool_name"],
        args=args,
        environment=_text(event, "environment", "production"),
        principal=_principal(event.get("principal")),
        verdict=verdict,
        observed=observed,
        rule=_text(event, "decision_name", "") or None,
        source=_text(event, "decision_source", "") or None,
        policy_version=_text(event, "policy_version", "") or None,
    )


def _text(event: dict[str, Any], key: str, default: str) -> str:
    value = event.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise MalformedLineError(f'"{key}" of the event is not a text')
    return value


def _principal(value: Any) -> Principal | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("claims") or {}, dict):
        raise MalformedLineError('"principal" of the event is not a JSON object with "claims", another one')
    fields = {name: _text(value, name, "") or None for name in _PRINCIPAL_FIELDS}
    try:
        return Principal(**fields, claims=value.get("claims") or {})
    except ValueError as error:
        raise MalformedLineError(f"the principal cannot be read: {error}") from None

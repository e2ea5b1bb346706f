"""
Making one event out of whatever an agent delivers, or saying why there is none: every input has an outcome.

Little is asked of an event: that it says what happened, when, and which agent it was.  A detail of the wrong kind is
left out and named in ``invalid_fields``; fields that are not known are kept.  Normalising what was normalised changes
nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any, TypeAlias
from uuid import UUID

import attrs
import msgspec

from edictum_console.domains.events.fitting import LARGEST_EVENT, fitted
from edictum_console.domains.events.screening import screened
from edictum_console.domains.events.shapes import KINDS, LENGTHS, digest, flat
from edictum_console.domains.events.vocabulary import canonical
from edictum_console.ids import id_at
from edictum_console.security.actor import KeyActor
from edictum_console.security.authentication import IDENTIFIER

_AGENT = re.compile(f"(?:gate:)?{IDENTIFIER}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
_DAY = 86_400_000_000
_LARGEST_DURATION = 2**31 - 1
_LARGEST_NUMBER = 2**53
_LONGEST_SEARCHED = 2_000
_HASH_LENGTH = 64

# Fields that have columns of their own; ``payload`` holds the others.
_IN_COLUMNS = (
    "agent_id",
    "session_id",
    "parent_session_id",
    "call_id",
    "tool_name",
    "action",
    "mode",
    "policy_version",
    "reason",
    "duration_ms",
)


@attrs.define
class Event:
    """
    An event as it is stored.

    Attributes:
        id: Made of its time and what names it, so that one that is delivered again is known.
        day: Its own day, such as 20260131.
        occurred_at: Microseconds since 1970, by the agent's clock.
        rule_name: What decided.
        principal_id: On whose behalf.
        payload: All other fields, as JSON.
        rules: The names of the rules that were evaluated.
        redacted: Whether a secret was found in it.
        truncated: Whether it was too large.
        workflow: The state of its workflow, as JSON.
    """

    id: UUID
    day: int
    occurred_at: int
    agent_id: str
    session_id: str | None
    parent_session_id: str | None
    call_id: str
    tool_name: str
    action: str
    mode: str
    rule_name: str | None
    policy_version: str | None
    principal_id: str | None
    reason: str | None
    duration_ms: int | None
    payload: str
    rules: list[str]
    redacted: bool
    truncated: bool
    workflow: str | None


@attrs.frozen
class Rejection:
    """
    Why something is no event.

    Attributes:
        code: A word for programs.
        detail: One sentence for people, without values.
    """

    code: str
    detail: str


Outcome: TypeAlias = Event | Rejection


def normalise(raw: object, size: int, actor: KeyActor, now: datetime) -> Outcome:
    """
    Make an event of what an agent delivered.

    Args:
        raw: What JSON held.
        size: How many bytes it had.
        actor: Who delivers it.
        now: The time; nothing can have happened a day later.
    """
    if not isinstance(raw, dict):
        return Rejection("not_an_object", "an event is a JSON object")
    event = flat(raw, actor.prefix)
    action = event.get("action")
    word = canonical(action) if isinstance(action, str) else None
    if word is None:
        return Rejection("invalid_action", "action must be one word of lower-case letters and underscores")
    event["action"] = word
    moment = _moment(event.pop("timestamp", None))
    if moment is None or moment < _OLDEST:
        return Rejection("invalid_timestamp", "timestamp must be a date and time as RFC 3339 has it, after 1999")
    occurred_at = (moment - _EPOCH) // _MICROSECOND
    if moment > now and occurred_at - (now - _EPOCH) // _MICROSECOND > _DAY:
        return Rejection("timestamp_in_future", "timestamp is more than a day ahead of the console's clock")
    agent_id = event.get("agent_id") or actor.agent_id or f"key-{actor.key_id}"
    if not isinstance(agent_id, str) or not _AGENT.fullmatch(agent_id):
        return Rejection(
            "invalid_agent_id",
            "agent_id must begin with a letter or digit, and have letters, digits, '.', '_' and '-' only",
        )
    if not actor.may_be(agent_id):
        return Rejection("agent_mismatch", "the API key is for other agents")
    event["agent_id"] = agent_id
    _keep_fitting(event)
    if not event.get("call_id"):
        event["call_id"] = digest(raw)
    return _stored(event, size, moment, occurred_at)


def _stored(event: dict[str, Any], size: int, moment: datetime, occurred_at: int) -> Event:
    day = moment.year * 10_000 + moment.month * 100 + moment.day
    identity = _identity(event, occurred_at)
    duration = event.get("duration_ms")
    principal = event.get("principal")
    principal_id = _principal_id(principal) if principal else None
    columns = [event.pop(name, None) for name in _IN_COLUMNS]
    reason, rule_name = columns[8], event.pop("decision_name", None)
    if duration is not None and not 0 <= duration <= _LARGEST_DURATION:
        columns[9] = min(max(duration, 0), _LARGEST_DURATION)
    records = event.get("rules_evaluated")
    rules = _rule_names(records) if records else []
    payload, reason, redacted = screened(event, reason)
    truncated = size > LARGEST_EVENT
    if truncated:
        payload, reason = fitted(event, reason)
    workflow = event.get("workflow")
    return Event(
        identity,
        day,
        occurred_at,
        columns[0],
        columns[1] or None,
        columns[2] or None,
        columns[3],
        columns[4] or "",
        columns[5],
        columns[6] or "enforce",
        rule_name or None,
        columns[7] or None,
        principal_id,
        reason,
        columns[9],
        payload,
        rules,
        redacted,
        truncated,
        msgspec.json.encode(workflow).decode() if isinstance(workflow, dict) and workflow else None,
    )


_MICROSECOND = datetime.resolution


def _moment(text: object) -> datetime | None:
    """
    Read a time; one without a zone is UTC, as some clients mean it.
    """
    if type(text) is not str or not 19 <= len(text) <= 40 or text[10] not in "Tt ":
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _keep_fitting(event: dict[str, Any]) -> None:
    """
    Leave details of a wrong kind out, and name them.
    """
    wrong: list[str] = []
    for name, value in event.items():
        expected = KINDS.get(name)
        if expected is None:
            continue
        kind = type(value)
        if kind is float and expected is int and isfinite(value):
            # Counters of some agents have a fraction of zero, durations have any.
            event[name] = value = round(value) if name == "duration_ms" or value.is_integer() else value
            kind = type(value)
        if kind is not expected or (kind is int and not -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER):
            wrong.append(name)
        elif kind is str:
            if len(value) > LENGTHS.get(name, len(value)):
                event[name] = value = _shortened(value, LENGTHS[name])
            if "\0" in value:
                event[name] = value.replace("\0", "\ufffd")
    if wrong:
        for name in wrong:
            del event[name]
        known = [name for name in event.get("invalid_fields", ()) if type(name) is str and name in KINDS]
        event["invalid_fields"] = sorted({*known, *wrong})


def _shortened(text: str, limit: int) -> str:
    """
    Shorten a name so that two that differ stay different.
    """
    if limit <= _HASH_LENGTH:
        return text[:limit]
    return f"{text[: limit - _HASH_LENGTH - 1]}~{hashlib.sha256(text.encode()).hexdigest()}"


def _identity(event: Mapping[str, Any], occurred_at: int) -> UUID:
    """
    Make the id of an event: of its own id where it has one, else of what tells the events of one call apart.
    """
    event_id = event.get("event_id")
    get = event.get
    parts = (
        (event["agent_id"], event_id)
        if event_id
        else (
            event["agent_id"],
            get("run_id") or "",
            event["call_id"],
            get("call_index") or 0,
            event["action"],
            get("decision_name") or "",
            get("session_id") or "",
        )
    )
    return id_at(occurred_at, int.from_bytes(hashlib.sha256(msgspec.json.encode(parts)).digest()[:8], "big"))


def _principal_id(principal: Mapping[str, Any]) -> str | None:
    for name in ("user_id", "id", "service_id", "email"):
        value = principal.get(name)
        if type(value) is str and value:
            return _shortened(value, 255).replace("\0", "\ufffd") if len(value) > 255 or "\0" in value else value
    return None


def _rule_names(records: list[Any]) -> list[str]:
    names = []
    for record in records[:1000]:
        name = record.get("name") or record.get("id") if type(record) is dict else None
        if type(name) is str:
            names.append(name[:255])
    return names

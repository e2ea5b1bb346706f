"""
Making one event out of whatever an agent delivers, or saying why there is none: every input has an outcome.

Little is asked of an event: that it says what happened, when, and which agent it was.  A detail of the wrong kind is
left out and named in ``invalid_fields``; fields that are not known are kept.  Normalising what was normalised changes
nothing.
"""

from __future__ import annotations

from datetime import datetime
from math import isfinite
from typing import Any

from edictum_console.domains.events.event import (
    LARGEST_DURATION,
    LARGEST_NUMBER,
    Event,
    Outcome,
    Rejection,
    day_of,
    identity,
    is_agent,
    is_future,
    principal_id,
    read_moment,
    rule_names,
    shortened,
    workflow_state,
)
from edictum_console.domains.events.fitting import LARGEST_EVENT, fitted
from edictum_console.domains.events.screening import screened
from edictum_console.domains.events.shapes import KINDS, LENGTHS, digest, flat
from edictum_console.domains.events.vocabulary import canonical
from edictum_console.domains.events.wire import microseconds_of
from edictum_console.security.actor import KeyActor

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
    moment = read_moment(event.pop("timestamp", None))
    if moment is None:
        return Rejection("invalid_timestamp", "timestamp must be a date and time as RFC 3339 has it, after 1999")
    if is_future(moment, now):
        return Rejection("timestamp_in_future", "timestamp is more than a day ahead of the console's clock")
    agent_id = event.get("agent_id") or actor.agent_id or f"key-{actor.key_id}"
    if not isinstance(agent_id, str) or not is_agent(agent_id):
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
    return _stored(event, size, moment)


def _stored(event: dict[str, Any], size: int, moment: datetime) -> Event:
    occurred_at, get = microseconds_of(moment), event.get
    named = identity(
        occurred_at,
        event["agent_id"],
        get("event_id"),
        get("run_id"),
        event["call_id"],
        get("call_index"),
        event["action"],
        get("decision_name"),
        get("session_id"),
    )
    duration, principal, rules = get("duration_ms"), principal_id(get("principal")), rule_names(get("rules_evaluated"))
    columns = [event.pop(name, None) for name in _IN_COLUMNS]
    reason, rule_name = columns[8], event.pop("decision_name", None)
    payload, reason, redacted = screened(event, reason)
    truncated = size > LARGEST_EVENT
    if truncated:
        payload, reason = fitted(event, reason)
    return Event(
        named,
        day_of(moment),
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
        principal,
        reason,
        None if duration is None else min(max(duration, 0), LARGEST_DURATION),
        payload,
        rules,
        redacted,
        truncated,
        workflow_state(event.get("workflow")),
    )


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
        if kind is not expected or (kind is int and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER):
            wrong.append(name)
        elif kind is str:
            if len(value) > LENGTHS.get(name, len(value)):
                event[name] = value = shortened(value, LENGTHS[name])
            if "\0" in value:
                event[name] = value.replace("\0", "\ufffd")
    if wrong:
        for name in wrong:
            del event[name]
        known = [name for name in event.get("invalid_fields", ()) if type(name) is str and name in KINDS]
        event["invalid_fields"] = sorted({*known, *wrong})

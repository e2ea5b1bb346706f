"""
Reading events that are written as agents of today write them: flat, with fields that are known and fit, no secrets.

Nearly all events are, and then the decoder itself checks kinds and lengths, much faster than a loop over their fields
can.  An event that is anything else has no short way: :mod:`.normalising` reads it, and what it says counts.  Where
both read an event they say the same, which a test compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from edictum.credentials import may_hide

from edictum_console.domains.events.event import (
    LARGEST_DURATION,
    LARGEST_NUMBER,
    Event,
    day_of,
    identity,
    is_agent,
    is_future,
    principal_id,
    read_moment,
    rule_names,
    workflow_state,
)
from edictum_console.domains.events.fitting import LARGEST_EVENT
from edictum_console.domains.events.screening import hides, nothing_hidden
from edictum_console.domains.events.shapes import KINDS, LENGTHS
from edictum_console.domains.events.vocabulary import canonical
from edictum_console.domains.events.wire import microseconds_of
from edictum_console.security.actor import KeyActor


def _kind(name: str) -> Any:
    """
    What the decoder is to make sure of.
    """
    kind = KINDS[name]
    if kind is int:
        return Annotated[int, msgspec.Meta(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)] | None
    if name in LENGTHS:
        return Annotated[str, msgspec.Meta(max_length=LENGTHS[name])] | None
    kinds: dict[type, Any] = {dict: dict[str, Any], list: list[Any]}
    return kinds.get(kind, kind) | None


# Fields without a value are left out when it is written.
_Plain: Any = msgspec.defstruct(
    "_Plain",
    [*((name, _kind(name), None) for name in KINDS), ("contracts_evaluated", list[Any] | None, None)],
    forbid_unknown_fields=True,
    omit_defaults=True,
    gc=False,  # JSON has no circles
)
_decode = msgspec.json.Decoder(_Plain).decode
_decode_all = msgspec.json.Decoder(list[_Plain]).decode
_encode = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

# They are no longer than the table of lengths says.
_is_agent = lru_cache(4096)(is_agent)


def plain_events(raws: Sequence[msgspec.Raw], actor: KeyActor, now: datetime) -> list[Event | None]:
    """
    Read events by the short way.

    Args:
        raws: The events, each as JSON.
        actor: Who delivers them.
        now: The time.

    Returns:
        The events; None for each that the long way must look at.
    """
    return [None if found is None else _read(found, actor, now) for found in _decoded(raws)]


def _decoded(raws: Sequence[msgspec.Raw]) -> list[Any]:
    """
    Decode all at once, which is faster; where one does not fit, each for itself.
    """
    written = b",".join(raws)
    if b"\\u0000" not in written and max((memoryview(raw).nbytes for raw in raws), default=0) <= LARGEST_EVENT:
        try:
            found: list[Any] = _decode_all(b"[%b]" % written)
        except _UNREADABLE:
            pass
        else:
            if len(found) == len(raws):
                return found
    return [_decoded_one(bytes(raw)) for raw in raws]


def _decoded_one(written: bytes) -> Any:
    if b"\\u0000" in written or len(written) > LARGEST_EVENT:
        return None
    try:
        return _decode(written)
    except _UNREADABLE:
        return None


def _read(found: Any, actor: KeyActor, now: datetime) -> Event | None:
    """
    Make an event of what fits.
    """
    agent_id, call_id, action = found.agent_id, found.call_id, canonical(found.action or "")
    if not (agent_id and call_id and action) or not _is_agent(agent_id) or not actor.may_be(agent_id):
        return None
    moment, duration = read_moment(found.timestamp), found.duration_ms
    if moment is None or is_future(moment, now) or not (duration is None or 0 <= duration <= LARGEST_DURATION):
        return None
    if found.contracts_evaluated is not None:
        if found.rules_evaluated is None:
            found.rules_evaluated = found.contracts_evaluated
        found.contracts_evaluated = None
    event = _event(found, agent_id, call_id, action, moment)
    hidden = (event.reason is not None and hides(event.reason)) or _may_hide_something(found, event.payload)
    return None if hidden else event


def _event(found: Any, agent_id: str, call_id: str, action: str, moment: datetime) -> Event:
    """
    Put the fields where they belong; what remains of them is the payload.
    """
    occurred_at, rule_name, session_id = microseconds_of(moment), found.decision_name, found.session_id
    event = Event(
        identity(
            occurred_at,
            agent_id,
            found.event_id,
            found.run_id,
            call_id,
            found.call_index,
            action,
            rule_name,
            session_id,
        ),
        day_of(moment),
        occurred_at,
        agent_id,
        session_id or None,
        found.parent_session_id or None,
        call_id,
        found.tool_name or "",
        action,
        found.mode or "enforce",
        rule_name or None,
        found.policy_version or None,
        principal_id(found.principal),
        found.reason,
        found.duration_ms,
        "",
        rule_names(found.rules_evaluated),
        False,
        False,
        workflow_state(found.workflow),
    )
    found.timestamp = found.agent_id = found.session_id = found.parent_session_id = found.call_id = None
    found.tool_name = found.action = found.mode = found.decision_name = found.policy_version = None
    found.reason = found.duration_ms = None
    event.payload = _encode(found).decode()
    return event


def _may_hide_something(found: Any, payload: str) -> bool:
    quiet = may_hide(payload) is None
    return not nothing_hidden(
        (
            found.tool_args,
            found.rules_evaluated,
            found.principal,
            found.workflow,
            found.metadata,
            found.hooks_evaluated,
            found.warnings,
            found.invalid_fields,
        )
        if quiet  # then only names can say that there is a secret, and only these hold some that are not known
        else msgspec.structs.astuple(found),
        quiet,
    )

"""
What an event is, once it was read: both ways of reading one, the long and the short, come to this.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import attrs
import msgspec

from edictum_console.ids import id_at
from edictum_console.security.authentication import IDENTIFIER

LARGEST_DURATION = 2**31 - 1
LARGEST_NUMBER = 2**53

_AGENT = re.compile(f"(?:gate:)?{IDENTIFIER}")
_OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_HASH_LENGTH = 64

_encoded = msgspec.json.Encoder().encode


class Event(msgspec.Struct, gc=False):
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
    rules: tuple[str, ...]
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


def is_agent(agent_id: str) -> bool:
    """
    Whether an agent can be called so.
    """
    return _AGENT.fullmatch(agent_id) is not None


def read_moment(text: object) -> datetime | None:
    """
    Read a time; one without a zone is UTC, as some clients mean it.
    """
    if type(text) is not str or not 19 <= len(text) <= 40 or text[10] not in "Tt ":
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment >= _OLDEST else None


def is_future(moment: datetime, now: datetime) -> bool:
    """
    Whether a moment is further ahead than clocks are apart.
    """
    return moment > now and moment - now > _DAY


def day_of(moment: datetime) -> int:
    """
    The day of a moment, such as 20260131.
    """
    return moment.year * 10_000 + moment.month * 100 + moment.day


def identity(
    occurred_at: int,
    agent_id: str,
    event_id: str | None,
    run_id: str | None,
    call_id: str,
    call_index: int | None,
    action: str,
    rule_name: str | None,
    session_id: str | None,
) -> UUID:
    """
    Make the id of an event: of its own id where it has one, else of what tells the events of one call apart.
    """
    parts = (
        (agent_id, event_id)
        if event_id
        else (agent_id, run_id or "", call_id, call_index or 0, action, rule_name or "", session_id or "")
    )
    return id_at(occurred_at, int.from_bytes(hashlib.sha256(_encoded(parts)).digest()[:8], "big"))


def principal_id(principal: Mapping[str, Any] | None) -> str | None:
    """
    The name of whoever an agent acts for.
    """
    if principal:
        for name in ("user_id", "id", "service_id", "email"):
            value = principal.get(name)
            if type(value) is str and value:
                return shortened(value, 255).replace("\0", "\ufffd") if len(value) > 255 or "\0" in value else value
    return None


def rule_names(records: list[Any] | None) -> tuple[str, ...]:
    """
    The names of the rules that were evaluated.
    """
    names = []
    for record in records[:1000] if records else ():
        name = record.get("name") or record.get("id") if type(record) is dict else None
        if type(name) is str:
            names.append(name[:255].replace("\0", "\ufffd"))  # they get a column of the counts
    return tuple(names)


def workflow_state(workflow: object) -> str | None:
    """
    The state of a workflow, as JSON; None where there is none.
    """
    return _encoded(workflow).decode() if isinstance(workflow, dict) and workflow else None


def shortened(text: str, limit: int) -> str:
    """
    Shorten a name so that two that differ stay different.
    """
    if limit <= _HASH_LENGTH:
        return text[:limit]
    return f"{text[: limit - _HASH_LENGTH - 1]}~{hashlib.sha256(text.encode()).hexdigest()}"

"""
How events are written: flat for today's readers, with the details in ``payload`` for older ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from edictum_console.domains.events.shapes import KINDS
from edictum_console.domains.events.vocabulary import class_of, older

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = (
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
_OLDER_OUTSIDE = ("id", "call_id", "agent_id", "tool_name", "mode", "timestamp", "env", "received_at")


def moment_of(occurred_at: int) -> datetime:
    """
    The moment that is so many microseconds after 1970.
    """
    return _EPOCH + timedelta(microseconds=occurred_at)


def microseconds_of(moment: datetime) -> int:
    """
    The microseconds from 1970 to a moment; one without a zone is UTC.
    """
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def write(row: Mapping[str, Any]) -> dict[str, Any]:
    """
    Write a stored event as agents deliver it, with what the console knows about it.
    """
    return {
        **dict.fromkeys(KINDS),
        **msgspec.json.decode(row["payload"]),
        **{name: row[name] for name in _COLUMNS},
        "decision_name": row["rule_name"],
        "timestamp": moment_of(row["occurred_at"]).isoformat(timespec="microseconds"),
        "id": str(row["id"]),
        "env": row["env"],
        "class": class_of(row["action"]),
        "received_at": row["created_at"].astimezone(UTC).isoformat(),
    }


def write_older(row: Mapping[str, Any]) -> dict[str, Any]:
    """
    Write a stored event as older consoles did.
    """
    event = write(row)
    outside = {name: event.pop(name) for name in _OLDER_OUTSIDE}
    verdict = older(event.pop("action"))
    return {**outside, "verdict": verdict, "payload": event}

"""
Making one flat shape of the ways in which clients write events.

Agents write flat events today.  Older ones wrap the details into ``payload`` and call the action a verdict; the gate
of coding assistants delivers the lines of its own log; clients written by hand use camelCase.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

# The kind of each field that is known, and how long its text may be where that is limited.
KINDS: dict[str, type] = {
    **dict.fromkeys(("tool_args", "principal", "workflow", "metadata"), dict),
    **dict.fromkeys(("hooks_evaluated", "rules_evaluated", "warnings", "invalid_fields"), list),
    **dict.fromkeys(("tool_success", "postconditions_passed", "policy_error", "truncated"), bool),
    **dict.fromkeys(
        ("seq", "call_index", "duration_ms", "session_attempt_count", "session_execution_count"),
        int,
    ),
    **dict.fromkeys(("timestamp", "reason", "error", "result_summary"), str),
}
LENGTHS = {
    "schema_version": 32,
    "event_id": 255,
    "run_id": 255,
    "call_id": 255,
    "parent_call_id": 255,
    "session_id": 255,
    "parent_session_id": 255,
    "agent_id": 160,
    "tool_name": 255,
    "side_effect": 64,
    "environment": 128,
    "action": 64,
    "decision_source": 255,
    "decision_name": 255,
    "mode": 16,
    "policy_version": 255,
    "observed_action": 64,
}
KINDS |= dict.fromkeys(LENGTHS, str)

# What only the console says about an event.
RESERVED = frozenset(("id", "env", "class", "received_at"))

_BORDER = re.compile(r"_([a-z])")
_CAMEL = {
    _BORDER.sub(lambda match: match[1].upper(), name): name for name in (*KINDS, "contracts_evaluated") if "_" in name
}
_NO_ACCOUNT = re.compile(r"[^A-Za-z0-9._-]")


def flat(raw: Mapping[str, Any], key_prefix: str) -> dict[str, Any]:
    """
    Bring an event of any shape into the flat one, without fields that are null; what it holds is not looked at yet.

    Args:
        raw: The event as it came.
        key_prefix: What a gate that names no account is called by.
    """
    event = {name: value for name, value in raw.items() if value is not None}
    if not event.keys().isdisjoint(_CAMEL):
        for camel in event.keys() & _CAMEL.keys():
            event.setdefault(_CAMEL[camel], event.pop(camel))
    if isinstance(event.get("payload"), dict) and "verdict" in event:
        event = {**event.pop("payload"), **event}
    if "action" not in event:
        if "verdict" in event:
            event["action"] = event.pop("verdict")
        elif "decision" in event:
            _from_gate(event, raw, key_prefix)
    if "contracts_evaluated" in event:
        older = event.pop("contracts_evaluated")
        event.setdefault("rules_evaluated", older)
    if not event.keys().isdisjoint(RESERVED):
        for name in RESERVED & event.keys():
            del event[name]
    return event


def digest(value: Any) -> str:
    """
    Name a value by what it holds.
    """
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def _from_gate(event: dict[str, Any], raw: Mapping[str, Any], key_prefix: str) -> None:
    event["action"] = event.pop("decision")
    account = event.get("user")
    if not isinstance(account, str) or not account:
        account = key_prefix
    event.setdefault("agent_id", f"gate:{_NO_ACCOUNT.sub('_', account)[:120].lstrip('._-') or 'unknown'}")
    event.setdefault("call_id", digest(raw))

"""
How a request is written, for agents of today and for those that were written for an older console.

Published clients take every word that they do not know for "pending", so no other words leave here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

POLICY_BLOCK = "timed_out_policy_block"


class Dialect(Enum):
    """
    Which words are used.
    """

    CURRENT = "/v1"
    OLDER = "/api/v1"


_WORDS = {
    Dialect.CURRENT: {"denied": "rejected", "cancelled": "rejected"},
    Dialect.OLDER: {"cancelled": "denied", "timed_out": "timeout"},
}


def word(status: str, dialect: Dialect) -> str:
    """
    The word for a state.
    """
    return _WORDS[dialect].get(status, status)


def write(row: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """
    Write a request as JSON has it.
    """
    status, reason = row["status"], row["decision_reason"]
    if status == "cancelled":
        reason = reason or "cancelled"
    if status == "timed_out" and reason == POLICY_BLOCK:
        status = "denied"  # what the agent would do by itself is not permitted where it runs
    shown = {
        "id": str(row["id"]),
        "status": word(status, dialect),
        **{name: row[name] for name in ("agent_id", "env", "tool_name", "message", "session_id", "call_id")},
        "tool_args": json.loads(row["tool_args"]),
        "args_digest": row["args_digest"],
        "rule_name": row["rule_name"],
        "policy_version": row["policy_version"],
        "principal": None if row["principal"] is None else json.loads(row["principal"]),
        "metadata": None if row["metadata"] is None else json.loads(row["metadata"]),
        "timeout_seconds": row["timeout_seconds"],
        "timeout_action": row["timeout_action"],
        "created_at": _time(row["created_at"]),
        "expires_at": _time(row["expires_at"]),
        "decided_by": row["decided_by"],
        "decided_at": _time(row["decided_at"]),
        "decided_via": row["decided_via"],
        "decision_reason": reason,
        "reason": reason,
        "last_polled_at": _time(row["last_polled_at"]),
        "quorum": 1,
        "votes": [],
    }
    if dialect is Dialect.OLDER:
        shown["timeout_effect"] = "deny" if row["timeout_action"] == "block" else "allow"
        shown["contract_name"] = row["rule_name"]
    return shown


def stored_status(word: str) -> tuple[str, ...]:
    """
    The states that a word of either dialect asks for.
    """
    words = {"rejected": ("denied", "cancelled"), "denied": ("denied", "cancelled"), "timeout": ("timed_out",)}
    return words.get(word, (word,))


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()

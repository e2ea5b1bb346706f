"""
The words of actions: one for each thing that happens, whatever the agent's language and age call it.
"""

from __future__ import annotations

import re
from enum import StrEnum


class EventClass(StrEnum):
    """
    What an event counts as; a word that is not known counts as nothing but ``other``.
    """

    ALLOWED = "allowed"
    BLOCKED = "blocked"
    OBSERVED = "observed"
    ASKED = "asked"
    APPROVAL = "approval"
    EXECUTED = "executed"
    FAILED = "failed"
    FINDING = "finding"
    WORKFLOW = "workflow"
    LIFECYCLE = "lifecycle"
    OTHER = "other"


CLASSES = {
    "call_allowed": EventClass.ALLOWED,
    "call_blocked": EventClass.BLOCKED,
    "call_would_block": EventClass.OBSERVED,
    "call_asked": EventClass.ASKED,
    "call_approval_granted": EventClass.APPROVAL,
    "call_approval_blocked": EventClass.APPROVAL,
    "call_approval_timeout": EventClass.APPROVAL,
    "call_executed": EventClass.EXECUTED,
    "call_failed": EventClass.FAILED,
    "postcondition_warning": EventClass.FINDING,
    "workflow_stage_advanced": EventClass.WORKFLOW,
    "workflow_completed": EventClass.WORKFLOW,
    "workflow_state_updated": EventClass.WORKFLOW,
    "ruleset_reloaded": EventClass.LIFECYCLE,
    "ruleset_rejected": EventClass.LIFECYCLE,
    "events_dropped": EventClass.LIFECYCLE,
}

_ALIASES = {
    "allow": "call_allowed",
    "allowed": "call_allowed",
    "call_denied": "call_blocked",
    "deny": "call_blocked",
    "denied": "call_blocked",
    "block": "call_blocked",
    "blocked": "call_blocked",
    "call_would_deny": "call_would_block",
    "would_deny": "call_would_block",
    "would_block": "call_would_block",
    "would_ask": "call_would_block",
    "call_approval_requested": "call_asked",
    "pending": "call_asked",
    "pending_approval": "call_asked",
    "ask": "call_asked",
    "call_approval_denied": "call_approval_blocked",
    "contracts_reloaded": "ruleset_reloaded",
}

# What agents and dashboards of before read, where it is another word.
_OLDER = {
    "call_blocked": "call_denied",
    "call_would_block": "call_would_deny",
    "call_asked": "call_approval_requested",
    "call_approval_blocked": "call_approval_denied",
    "ruleset_reloaded": "contracts_reloaded",
}

_WORD = re.compile(r"[a-z_]{1,64}")


def canonical(word: str) -> str | None:
    """
    Return the one word for an action; None if it cannot be one.
    """
    if word in CLASSES:
        return word
    return _ALIASES.get(word) or (word if _WORD.fullmatch(word) else None)


def class_of(action: str) -> EventClass:
    """
    Return what a canonical action counts as.
    """
    return CLASSES.get(action, EventClass.OTHER)


def older(action: str) -> str:
    """
    Return the word that readers of before know a canonical action by.
    """
    return _OLDER.get(action, action)

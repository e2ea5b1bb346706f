"""
What a message says, before it is written in the way of one channel.

It is made in the transaction of the change that it tells of, and holds no more than may leave the console.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import attrs
from edictum.redaction import RedactionPolicy

from edictum_console.domains.notifications.schemas import Kind
from edictum_console.domains.settings.schemas import NotifyArgs

_POLICY = RedactionPolicy()

_LONGEST_ARGUMENTS = 1500
_LONGEST_MESSAGE = 1000
_LONGEST_REASON = 500

_TITLES = {
    "pending": "An agent asks for approval",
    "approved": "Approved",
    "denied": "Denied",
    "cancelled": "The agent waits no longer",
    "timed_out": "Nobody decided in time",
    "test": "Test of this channel",
}


@attrs.frozen
class Notice:
    """
    What a message says about a request.

    Attributes:
        approval_id: The request.
        status: What became of it.
        env: Where it was made.
        agent_id: By whom.
        tool_name: The tool that is to be called.
        message: What people are told.
        rule_name: The rule that asks.
        arguments: The arguments, as far as they may be shown; None for not at all.
        args_digest: By which the arguments can be recognised.
        expires_at: Until when somebody must decide.
        decided_by: Who decided.
        decided_via: By which way.
        reason: Why.
    """

    approval_id: str
    status: str
    env: str
    agent_id: str
    tool_name: str
    message: str
    rule_name: str | None
    arguments: str | None
    args_digest: str
    expires_at: str
    decided_by: str | None = None
    decided_via: str | None = None
    reason: str | None = None

    @property
    def title(self) -> str:
        """
        What happened, in words.
        """
        return _TITLES[self.status]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """
        Names and values that stand on one line each.
        """
        pairs = [
            ("Tool", self.tool_name),
            ("Agent", self.agent_id),
            ("Environment", self.env),
            ("Rule", self.rule_name),
            ("Arguments' digest", self.args_digest),
            ("Until", self.expires_at if self.status == "pending" else None),
            ("Decided by", self.decided_by),
            ("Via", self.decided_via),
            ("Reason", self.reason),
        ]
        return [(name, on_one_line(value)) for name, value in pairs if value]


def notice_of(row: Mapping[str, Any], show: NotifyArgs) -> Notice:
    """
    Say what a request asks.

    Args:
        row: The request.
        show: How much of the arguments may be shown.
    """
    expires_at: datetime = row["expires_at"]
    return Notice(
        approval_id=str(row["id"]),
        status="pending",
        env=row["env"],
        agent_id=row["agent_id"],
        tool_name=row["tool_name"],
        message=without_secrets(row["message"]),
        rule_name=row["rule_name"],
        arguments=_arguments(json.loads(row["tool_args"]), show),
        args_digest=row["args_digest"][:8],
        expires_at=expires_at.isoformat(timespec="seconds"),
    )


def without_secrets(message: str) -> str:
    """
    What people are asked, as it may be told anywhere: an agent may have put a secret into it.
    """
    return _POLICY.redact_text(message, _LONGEST_MESSAGE)


def decided(notice: Notice, status: str, decided_by: str | None, via: str | None, reason: str | None) -> Notice:
    """
    Say what became of a request.
    """
    shown = None if reason is None else _POLICY.redact_text(reason, _LONGEST_REASON)
    return attrs.evolve(notice, status=status, decided_by=decided_by, decided_via=via, reason=shown)


def sample() -> Notice:
    """
    What a message to try a channel out says.
    """
    return Notice(
        approval_id=str(UUID(int=0)),
        status="test",
        env="test",
        agent_id="test",
        tool_name="test",
        message="This is a test of the channel. Nobody asks for anything.",
        rule_name=None,
        arguments=None,
        args_digest="",
        expires_at="",
    )


def written(notice: Notice) -> str:
    """
    Write a notice down, to be sent later.
    """
    return json.dumps(attrs.asdict(notice))


def read(text: str) -> Notice:
    """
    Read what was written down.
    """
    return Notice(**json.loads(text))


def kind_of(status: str) -> Kind:
    """
    What people are told of when a request comes to a state.
    """
    if status == "pending":
        return Kind.APPROVAL_REQUESTED
    return Kind.APPROVAL_TIMEOUT if status == "timed_out" else Kind.APPROVAL_DECIDED


def on_one_line(text: str) -> str:
    """
    Take everything out of a text that would end its line or is not seen.
    """
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _arguments(values: Mapping[str, Any], show: NotifyArgs) -> str | None:
    match show:
        case NotifyArgs.NONE:
            return None
        case NotifyArgs.KEYS:
            return _POLICY.redact_text(", ".join(_POLICY.redact_tree(dict.fromkeys(values, 0))), _LONGEST_ARGUMENTS)
        case NotifyArgs.REDACTED:
            shown = json.dumps(_POLICY.redact_tree(dict(values)), indent=1, ensure_ascii=False)
            return _POLICY.redact_text(shown, _LONGEST_ARGUMENTS)
        case NotifyArgs.FULL:
            shown = json.dumps(values, indent=1, ensure_ascii=False)
            return shown if len(shown) <= _LONGEST_ARGUMENTS else f"{shown[: _LONGEST_ARGUMENTS - 3]}..."

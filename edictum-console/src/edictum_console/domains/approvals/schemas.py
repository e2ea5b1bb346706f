"""
Bodies about approvals.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import attrs
from msgspec import Meta

from edictum_console.http.bodies import AgentBody, Identifier, Label, Note

Message = Annotated[str, Meta(min_length=1, max_length=4096)]
ToolName = Annotated[str, Meta(min_length=1, max_length=255)]
Seconds = Annotated[int, Meta(ge=1, le=86_400)]


class TimeoutAction(StrEnum):
    """
    What the agent does when nobody decides in time; ``deny`` is an older word for ``block``.
    """

    BLOCK = "block"
    ALLOW = "allow"
    DENY = "deny"


class DecisionWord(StrEnum):
    """
    A decision, in the words of all clients.
    """

    APPROVED = "approved"
    APPROVE = "approve"
    REJECTED = "rejected"
    DENY = "deny"
    DENIED = "denied"


@attrs.frozen
class ApprovalRequest(AgentBody):
    """
    What an agent asks.

    Attributes:
        tool_name: The tool that is to be called.
        message: What people are told.
        agent_id: The agent; the header goes before it.
        tool_args: The arguments, redacted by the agent.
        timeout: Seconds in which somebody must decide.
        timeout_action: What the agent does otherwise.
        timeout_effect: The older name of ``timeout_action``.
        session_id: The session of the call.
        call_id: The call.
        rule_name: The rule that asks.
        contract_name: The older name of ``rule_name``.
        policy_version: The revision that the agent runs.
        principal: On whose behalf it acts.
        metadata: More.
    """

    tool_name: ToolName
    message: Message
    agent_id: Identifier | None = None
    tool_args: dict[str, Any] | None = None
    timeout: Seconds = 300
    timeout_action: TimeoutAction | None = None
    timeout_effect: TimeoutAction | None = None
    session_id: Label | None = None
    call_id: Label | None = None
    rule_name: Label | None = None
    contract_name: Label | None = None
    policy_version: Annotated[str, Meta(max_length=128)] | None = None
    principal: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


@attrs.frozen
class Decision(AgentBody):
    """
    What a script decides.

    Attributes:
        decision: The decision.
        approved: The same, as a boolean.
        reason: Why.
        decided_by: Whom the script names; who decided is who signed in.
        decided_via: By which way.
    """

    decision: DecisionWord | None = None
    approved: bool | None = None
    reason: Note | None = None
    decided_by: Label | None = None
    decided_via: Annotated[str, Meta(max_length=64)] | None = None


@attrs.frozen
class PersonsDecision:
    """
    What a person decides.
    """

    approved: bool
    reason: Note | None = None


@attrs.frozen
class BulkDecision:
    """
    What a person decides about several requests.
    """

    ids: Annotated[list[UUID], Meta(min_length=1, max_length=100)]
    approved: bool
    reason: Note | None = None


@attrs.frozen
class BulkOutcome:
    """
    What came of one of several decisions; ``decided``, or the code of the error.
    """

    id: UUID
    outcome: str


@attrs.frozen
class BulkOutcomes:
    """
    What came of several decisions.
    """

    outcomes: list[BulkOutcome]

"""
What the demo's agents do: they connect, deliver a week of events, share counters, and ask people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import attrs
import msgspec

from edictum_console.db.scope import TenantScope
from edictum_console.demo.content import AGENTS, DemoAgent, text_of
from edictum_console.demo.week import played
from edictum_console.domains.agents.schemas import AgentChange, Reported, StatusReport
from edictum_console.domains.agents.service import AgentService, Introduction
from edictum_console.domains.approvals.schemas import ApprovalRequest
from edictum_console.domains.approvals.service import ApprovalService
from edictum_console.domains.events.batches import Batch
from edictum_console.domains.events.gathering import EventGathering
from edictum_console.domains.events.hearing import Hearing
from edictum_console.domains.events.service import IngestService
from edictum_console.domains.sessions.schemas import NewValue
from edictum_console.domains.sessions.service import SessionService
from edictum_console.resources import Caller, Resources
from edictum_console.security.actor import KeyActor
from edictum_console.state.memory import MemoryRateLimits
from edictum_console.state.ports import Place
from edictum_console.state.pulse import Pulse

BEHIND = "support-3"
LOST = 12

_DAY = 86_400  # seconds


@attrs.frozen
class _Asked:
    """
    Something that people are asked.

    Attributes:
        outcome: ``pending``, which it stays for a day, ``over`` after a second, or what becomes of it at once.
    """

    outcome: str
    agent_id: str
    tool_name: str
    tool_args: dict[str, Any]
    message: str
    rule_name: str
    reason: str | None = None

    @property
    def timeout(self) -> int:
        """
        For how many seconds it can be decided.
        """
        return 1 if self.outcome == "over" else _DAY


def _refund(outcome: str, agent_id: str, order: str, amount: int, reason: str | None = None) -> _Asked:
    arguments, message = {"order": order, "amount": amount}, f"Refund {amount} for order {order}?"
    return _Asked(outcome, agent_id, "refund", arguments, message, "ask-before-refunds", reason)


def _push(outcome: str, agent_id: str, branch: str, reason: str | None = None) -> _Asked:
    command = f"git push origin {branch}"
    message = f"The assistant wants to publish: {command}"
    return _Asked(outcome, agent_id, "bash", {"command": command}, message, "ask-before-push", reason)


_ASKED = (
    _refund("over", "support-2", "A-1007", 260),
    _refund("approved", "support-1", "A-1002", 180, "the parcel was lost"),
    _refund("denied", "support-1", "A-1004", 450, "was refunded yesterday"),
    _push("approved", "assistant-bo", "fix-cart"),
    _push("cancelled", "assistant-ana", "main"),
    _refund("pending", "support-1", "A-1011", 120),
    _refund("pending", "support-2", "A-1012", 340),
    _push("pending", "assistant-bo", "main"),
)


async def play_agents(resources: Resources, scope: TenantScope, actors: Mapping[str, KeyActor], caller: Caller) -> None:
    """
    Let all agents do what they do.

    Args:
        resources: What the console has.
        scope: The demo's tenant.
        actors: The agents, each with its API key.
        caller: Who decides what they ask.
    """
    # Requests that are over end first, while the others are still being made.
    await _ask(resources, scope, actors, caller)
    now = await scope.database.now()
    settings = attrs.evolve(resources.settings, events_per_minute=10**6, events_per_batch=10**5)
    gathering, hearing = EventGathering(), Hearing()
    for agent in AGENTS:
        actor, week = actors[agent.agent_id], await played(agent, now)
        # Limits of its own: what is configured is for agents that are not under our hands.
        limits, pulse = MemoryRateLimits(), Pulse(resources.stores.bus)
        ingest = IngestService(scope, gathering, hearing, limits, settings, resources.metrics, pulse)
        events = [msgspec.Raw(msgspec.json.encode(event)) for event in week.events]
        await ingest.ingest(Batch(events, None, LOST if agent.agent_id == BEHIND else 0), actor)
        values = SessionService(resources.stores.values, Place(scope.tenant_id, agent.env), None)
        for key, value in week.values.items():
            await values.write(key, NewValue(value))
        await _introduce(agent, AgentService(scope), actor, caller)


async def _introduce(agent: DemoAgent, agents: AgentService, actor: KeyActor, caller: Caller) -> None:
    """
    Let an agent connect and report what it runs, and people say about it what they know.
    """
    revision = hashlib.sha256(text_of(agent.ruleset, agent.now).encode()).hexdigest()
    said = Introduction(None, revision, agent.tags, agent.client, "192.0.2.10")
    await agents.connected(actor, said)
    await agents.assigned(agent.env, [agent.agent_id], agent.ruleset)
    behind = agent.agent_id == BEHIND
    report = StatusReport(
        agent.ruleset,
        revision,
        Reported.REJECTED if behind else Reported.APPLIED,
        "the signature is not by a key that this agent trusts" if behind else None,
        dropped_events=LOST if behind else 0,
    )
    row, _ = await agents.report(report, actor, said.address)
    if agent.workflow:
        change = AgentChange("Ana's assistant", {"owner": "ana"}, agent.ruleset)
        await agents.change(row["id"], change, caller)


async def _ask(resources: Resources, scope: TenantScope, actors: Mapping[str, KeyActor], caller: Caller) -> None:
    stores = resources.stores
    approvals = ApprovalService(scope, MemoryRateLimits(), stores.bus, resources.metrics)
    for asked in _ASKED:
        actor = actors[asked.agent_id]
        body = ApprovalRequest(
            asked.tool_name,
            asked.message,
            tool_args=asked.tool_args,
            timeout=asked.timeout,
            rule_name=asked.rule_name,
            session_id=f"{asked.agent_id}-session-0",
        )
        approval_id = UUID((await approvals.create(body, actor, None))["id"])
        if asked.outcome == "cancelled":
            await approvals.cancel(approval_id, attrs.evolve(caller, actor=actor))
        elif asked.outcome in ("approved", "denied"):
            approved = asked.outcome == "approved"
            await approvals.decide(approval_id, approved, asked.reason, caller, "console")

"""
Bodies about agents.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import attrs
from msgspec import Meta

from edictum_console.http.bodies import AgentBody, Identifier, Label

Count = Annotated[int, Meta(ge=0, le=2**53)]
Revision = Annotated[str, Meta(max_length=128)]
Tags = dict[str, str]
AgentIds = Annotated[list[Identifier], Meta(min_length=1, max_length=1000)]
NameOrNone = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$(?!\n)", max_length=128)]


class Reported(StrEnum):
    """
    What an agent says about the ruleset that it was given.
    """

    STARTING = "starting"
    APPLIED = "applied"
    REJECTED = "rejected"
    STOPPING = "stopping"


class FleetState(StrEnum):
    """
    Whether an agent runs what it should.
    """

    CURRENT = "current"
    UPDATING = "updating"
    DRIFT = "drift"
    UNKNOWN = "unknown"
    OFFLINE = "offline"
    UNGOVERNED = "ungoverned"


@attrs.frozen
class StatusReport(AgentBody):
    """
    What an agent says about itself.

    Attributes:
        bundle_name: The ruleset that it runs.
        policy_version: The SHA-256 of that ruleset's bytes.
        state: What became of the ruleset that it was last given.
        error: Why it was rejected.
        buffered_events: How many events wait to be sent.
        dropped_events: How many were lost since it started.
        client: What it is made with.
        tags: What it says that it is.
        manifest: The rules that it loaded by itself.
    """

    bundle_name: Identifier | None = None
    policy_version: Revision | None = None
    state: Reported = Reported.APPLIED
    error: Annotated[str, Meta(max_length=2000)] | None = None
    buffered_events: Count = 0
    dropped_events: Count = 0
    client: Label | None = None
    tags: Tags | None = None
    manifest: dict[str, Any] | None = None


@attrs.frozen
class Desired:
    """
    What an agent is to run.
    """

    bundle_name: str
    revision_hash: str
    deployment_seq: int


@attrs.frozen
class StatusAnswer:
    """
    What an agent is to run, and when it is to report again.

    Attributes:
        desired: What it is to run; null where nobody says so, or nothing of that name is deployed.
        next_in: The seconds until then.
    """

    desired: Desired | None
    next_in: int


@attrs.frozen
class Agent:
    """
    An agent that was seen.

    Attributes:
        id: The id of its registration.
        agent_id: What it calls itself.
        env: Where it runs.
        display_name: What people call it.
        operator_tags: What operators say about it.
        reported_tags: What it says about itself.
        tags_ignored: Whether it reported something that cannot be tags.
        bundle_name: The ruleset that an operator gave it; null for none.
        desired_name: The ruleset that it is to run; null for none.
        source: Who says so: ``explicit``, ``client``, ``rule`` or ``none``.
        rule_id: The assignment rule, where it is one.
        desired_revision: What is deployed under that name; null for nothing.
        applied_name: The ruleset that it says it runs.
        applied_revision: The SHA-256 of what it says it runs.
        applied_at: When it said so.
        state: Whether it runs what it should; ``ungoverned`` if its last events name no ruleset.
        last_error: Why it rejected what it was given.
        streams: How many streams it holds.
        buffered_events: How many events wait to be sent.
        dropped_events: How many events it lost.
        client: What it is made with, as it says.
        address: Where it last came from.
        last_seen_at: When it was last seen.
        created_at: When it was first seen.
    """

    id: UUID
    agent_id: str
    env: str
    display_name: str
    operator_tags: Tags
    reported_tags: Tags
    tags_ignored: bool
    bundle_name: str | None
    desired_name: str | None
    source: str
    rule_id: UUID | None
    desired_revision: str | None
    applied_name: str | None
    applied_revision: str | None
    applied_at: datetime | None
    state: FleetState
    last_error: str | None
    streams: int
    buffered_events: int
    dropped_events: int
    client: str | None
    address: str | None
    last_seen_at: datetime
    created_at: datetime


@attrs.frozen
class Agents:
    """
    Some agents, those that were seen first last.
    """

    agents: list[Agent]
    next_cursor: str | None


@attrs.frozen
class LiveAgents:
    """
    Agents that hold a stream.

    Attributes:
        agents: The agents.
        counts: How many are in which state.
        complete: Whether those of all replicas are among them.
    """

    agents: list[Agent]
    counts: dict[str, int]
    complete: bool


@attrs.frozen
class AgentChange:
    """
    What changes of an agent; what is not named stays.  An empty ``bundle_name`` takes the agent's ruleset away.
    """

    display_name: Label | None = None
    operator_tags: Tags | None = None
    bundle_name: NameOrNone | None = None


@attrs.frozen
class BulkAssignment:
    """
    A ruleset for several agents; an empty name takes theirs away.
    """

    env: Identifier
    agent_ids: AgentIds
    bundle_name: NameOrNone


@attrs.frozen
class Updated:
    """
    How many were changed.
    """

    updated: int


@attrs.frozen
class ExplainedStep:
    """
    One place where a ruleset may come from.

    Attributes:
        source: ``explicit``, ``client`` or ``rule``.
        bundle_name: The ruleset that it gives.
        rule_id: The rule, where it is one.
        priority: Its place.
        pattern: Its pattern.
        matches: Whether it would count.
        obstacle: Why not.
        wins: Whether it does count: it is the first that matches.
    """

    source: str
    bundle_name: str | None
    rule_id: UUID | None
    priority: int | None
    pattern: str | None
    matches: bool
    obstacle: str | None
    wins: bool


@attrs.frozen
class Explanation:
    """
    Which ruleset an agent is to run, and why.

    Attributes:
        agent_id: The agent.
        env: Where.
        known: Whether it was ever seen there.
        bundle_name: The ruleset; null for none.
        source: Who says so.
        rule_id: The rule, where it is one.
        deployed: Whether something of that name is deployed there.
        steps: All places, in the order in which they are tried.
    """

    agent_id: str
    env: str
    known: bool
    bundle_name: str | None
    source: str
    rule_id: UUID | None
    deployed: bool
    steps: list[ExplainedStep]

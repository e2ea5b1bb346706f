"""
The fleet: which agent runs what, which of them should, and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from edictum_console.db.scope import TenantScope
from edictum_console.domains.agents.repository import AgentRepository
from edictum_console.domains.agents.schemas import (
    Agent,
    Agents,
    Desired,
    ExplainedStep,
    Explanation,
    FleetState,
    LiveAgents,
    Reported,
)
from edictum_console.domains.assignment.resolution import Resolution, Rule, Step, Subject, resolve, steps
from edictum_console.domains.assignment.service import AssignmentService
from edictum_console.domains.deployments.service import DeploymentService, Running
from edictum_console.domains.settings.service import SettingsService
from edictum_console.errors import ConflictError, NotFoundError, UnavailableError
from edictum_console.http.paging import cursor_id, cut
from edictum_console.security.sealing import Sealer
from edictum_console.state.ports import Presence

CONFIRMS_WITHIN = timedelta(seconds=60)
FORGOTTEN_AFTER = timedelta(minutes=5)


@attrs.frozen
class Plan:
    """
    What agents are to run.

    Attributes:
        rules: The assignment rules of each environment.
        running: What is deployed, by environment and name.
        rules_first: Whether rules go before what agents ask for.
    """

    rules: Mapping[str, Sequence[Rule]]
    running: Mapping[tuple[str, str], Running]
    rules_first: bool = False

    @classmethod
    async def read(cls, scope: TenantScope, sealer: Sealer) -> Plan:
        """
        Read the plan of a tenant.
        """
        rules, running = await AssignmentService(scope).rules(), await DeploymentService(scope, sealer).running()
        return cls(rules, running, (await SettingsService(scope).read()).rules_override_client)

    def resolution(self, env: str, subject: Subject) -> Resolution:
        """
        Which ruleset an agent is to run.
        """
        return resolve(subject, self.rules.get(env, ()), self.rules_first)

    def steps(self, env: str, subject: Subject) -> Iterator[Step]:
        """
        The places where an agent's ruleset may come from, in their order.
        """
        return steps(subject, self.rules.get(env, ()), self.rules_first)

    def deployed(self, env: str, name: str | None) -> Running | None:
        """
        What is deployed under a name.
        """
        return None if name is None else self.running.get((env, name))


def state_of(row: Mapping[str, Any], running: Running | None, streams: int, now: datetime) -> FleetState:
    """
    Say whether an agent runs what it should.

    Args:
        row: What is known of the agent.
        running: What it should run; None for nothing.
        streams: How many streams it holds.
        now: The time.
    """
    if not streams and now - row["last_seen_at"] > FORGOTTEN_AFTER:
        return FleetState.OFFLINE
    if row["ungoverned"]:
        return FleetState.UNGOVERNED
    if row["applied_revision"] is None or running is None:
        return FleetState.UNKNOWN
    if row["applied_revision"] == running.revision_hash:
        return FleetState.CURRENT
    if row["state"] == Reported.REJECTED:
        return FleetState.DRIFT
    told_at = max(filter(None, (running.deployed_at, row["assigned_at"])))
    return FleetState.UPDATING if now - told_at < CONFIRMS_WITHIN else FleetState.DRIFT


class FleetService:
    """
    The fleet of one tenant.
    """

    def __init__(self, scope: TenantScope, sealer: Sealer, presence: Presence) -> None:
        self._scope = scope
        self._rows = AgentRepository(scope)
        self._sealer = sealer
        self._presence = presence

    async def page(self, env: str | None, cursor: str | None, limit: int) -> Agents:
        """
        Return some agents, those that were first seen last before others.
        """
        rows, more = cut(await self._rows.page(env, cursor_id(cursor), limit + 1), limit, "id")
        return Agents(await self._shown(rows, (await self._streams())[0]), more)

    async def live(self, env: str | None, bundle_name: str | None) -> LiveAgents:
        """
        Return the agents that hold a stream.

        Args:
            env: Only those of an environment.
            bundle_name: Only those that are to run a ruleset.
        """
        streams, complete = await self._streams()
        rows: list[dict[str, Any]] = []
        for place in sorted({place for place, _ in streams} if env is None else {env}):
            rows += await self._rows.among(place, {agent_id for there, agent_id in streams if there == place})
        agents = await self._shown(rows, streams)
        if bundle_name is not None:
            agents = [agent for agent in agents if agent.desired_name == bundle_name]
        counts = Counter(agent.state.value for agent in agents)
        return LiveAgents(agents, {state.value: counts[state.value] for state in FleetState}, complete)

    async def one(self, agent_id: str, env: str | None) -> Agent:
        """
        Return one agent.

        Raises:
            NotFoundError: It was never seen.
            ConflictError: It was seen in several environments, and none is named.
        """
        rows = [row for row in await self._rows.named(agent_id) if env in (None, row["env"])]
        if not rows:
            raise NotFoundError("there is no such agent", "agent_not_found")
        if len(rows) > 1:
            raise ConflictError("this agent was seen in several environments; name one by env", "several_environments")
        return (await self._shown(rows, (await self._streams())[0]))[0]

    async def shown(self, row: Mapping[str, Any]) -> Agent:
        """
        Return an agent whose row was just written.
        """
        return (await self._shown([row], (await self._streams())[0]))[0]

    async def desired(self, row: Mapping[str, Any]) -> Desired | None:
        """
        Say what an agent is to run; None where nobody says so, or nothing is deployed.
        """
        plan = await self.plan()
        running = plan.deployed(row["env"], plan.resolution(row["env"], subject_of(row)).bundle_name)
        return None if running is None else Desired(running.name, running.revision_hash, running.deployment_seq)

    async def plan(self) -> Plan:
        """
        Read what agents are to run.
        """
        return await Plan.read(self._scope, self._sealer)

    async def explain(self, agent_id: str, env: str, tags: Mapping[str, str] | None) -> Explanation:
        """
        Say which ruleset an agent is to run, and why.

        Args:
            agent_id: The agent; it need not have been seen.
            env: Where.
            tags: What it would report of itself; None for what it did.
        """
        plan, row = await self.plan(), await self._rows.find(env, agent_id)
        subject = Subject(agent_id) if row is None else subject_of(row)
        if tags is not None:
            subject = attrs.evolve(subject, reported_tags=tags)
        resolution = plan.resolution(env, subject)
        explained: list[ExplainedStep] = []
        for step in plan.steps(env, subject):
            wins = step.obstacle is None and not any(before.matches for before in explained)
            explained.append(_explained(step, wins))
        return Explanation(
            agent_id,
            env,
            row is not None,
            resolution.bundle_name,
            resolution.source.value,
            resolution.rule_id,
            plan.deployed(env, resolution.bundle_name) is not None,
            explained,
        )

    async def _streams(self) -> tuple[Counter[tuple[str, str]], bool]:
        """
        Count the streams of each agent; and say whether that is known.
        """
        try:
            present = await self._presence.all(self._scope.tenant_id)
        except UnavailableError:
            return Counter(), False
        return Counter((stream.env, stream.agent_id) for stream in present), True

    async def _shown(self, rows: Sequence[Mapping[str, Any]], streams: Mapping[tuple[str, str], int]) -> list[Agent]:
        plan, now = await self.plan(), await self._scope.database.now()
        return [_agent(row, plan, streams.get((row["env"], row["agent_id"]), 0), now) for row in rows]


def subject_of(row: Mapping[str, Any]) -> Subject:
    """
    An agent as rules see it.
    """
    return Subject(
        row["agent_id"], row["bundle_name"], row["requested_name"], row["operator_tags"], row["reported_tags"]
    )


def _explained(step: Step, wins: bool) -> ExplainedStep:
    rule = step.rule
    return ExplainedStep(
        source=step.source.value,
        bundle_name=step.bundle_name,
        rule_id=None if rule is None else rule.id,
        priority=None if rule is None else rule.priority,
        pattern=None if rule is None else rule.pattern,
        matches=step.obstacle is None,
        obstacle=step.obstacle,
        wins=wins,
    )


_COMPUTED = {"desired_name", "source", "rule_id", "desired_revision", "state", "streams"}


def _agent(row: Mapping[str, Any], plan: Plan, streams: int, now: datetime) -> Agent:
    resolution = plan.resolution(row["env"], subject_of(row))
    running = plan.deployed(row["env"], resolution.bundle_name)
    return Agent(
        desired_name=resolution.bundle_name,
        source=resolution.source.value,
        rule_id=resolution.rule_id,
        desired_revision=None if running is None else running.revision_hash,
        state=state_of(row, running, streams, now),
        streams=streams,
        **{field.name: row[field.name] for field in attrs.fields(Agent) if field.name not in _COMPUTED},
    )

"""
What the agents of one tenant are to run, read at one moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

import attrs

from edictum_console.db.scope import TenantScope
from edictum_console.domains.agents.fleet import Plan
from edictum_console.domains.agents.service import AgentService
from edictum_console.domains.approvals.wire import Dialect
from edictum_console.domains.assignment.resolution import Resolution, Subject
from edictum_console.domains.deployments.service import DeploymentService, Running
from edictum_console.domains.keys.service import KeyService
from edictum_console.domains.stream.connection import EventConnection
from edictum_console.domains.stream.frames import frame
from edictum_console.resources import Resources
from edictum_console.state.ports import Present


@attrs.define(eq=False)
class AgentStream:
    """
    A stream that an agent holds.

    Attributes:
        present: Who holds it.
        key_id: The API key that it was opened with.
        requested: The ruleset that the agent insists on.
        tags: What the agent says that it is.
        name: The ruleset that the agent runs, as far as is known.
        revision: The SHA-256 of what it ran when it connected.
        cursor: The number up to which it has seen everything; None where it never was connected.
        dialect: The words that it expects.
        sent: The number of the deployment that it was given last.
        resolved: Which ruleset it is to run, and by which assignment that was found out.
    """

    present: Present
    key_id: UUID
    requested: str | None
    tags: Mapping[str, str]
    name: str | None
    revision: str | None
    cursor: int | None
    dialect: Dialect
    sent: int = 0
    resolved: tuple[object, Resolution] | None = None
    connection: EventConnection = attrs.field(factory=EventConnection)

    @property
    def env(self) -> str:
        """
        Where the agent runs.
        """
        return self.present.env

    @property
    def agent_id(self) -> str:
        """
        What the agent calls itself.
        """
        return self.present.agent_id


@attrs.frozen
class View:
    """
    What agents are to run.

    Attributes:
        seq: The number in the feed up to which everything is in it.
        plan: The assignment rules, and what is deployed.
        operated: What operators say about agents.
        keys: The API keys that have not ended, each with the signing key that it is bound to.
        assignment: Stands for the rules and for what operators say: another object where these are others.
    """

    seq: int
    plan: Plan
    operated: Mapping[tuple[str, str], Subject]
    keys: Mapping[UUID, str | None]
    assignment: object
    _updates: dict[tuple[str, str, str | None], tuple[bytes, int]] = attrs.field(factory=dict)

    @classmethod
    async def read(cls, scope: TenantScope, resources: Resources, seq: int, before: View | None = None) -> View:
        """
        Read how things are, at least up to a number of the feed.

        Args:
            scope: Whose.
            resources: What reading needs.
            seq: The number.
            before: How things were.
        """
        plan = await Plan.read(scope, resources.sealer)
        operated = await AgentService(scope).operated()
        keys = await KeyService(scope, resources.hasher, resources.stores.bus).alive()
        assignment: object = object()
        if before is not None and (_assigning(before.plan), before.operated) == (_assigning(plan), operated):
            assignment = before.assignment
        return cls(seq, plan, operated, keys, assignment)

    def resolution(self, stream: AgentStream) -> Resolution:
        """
        Which ruleset an agent is to run; found out once, for most changes are deployments and concern all agents.
        """
        if stream.resolved is None or stream.resolved[0] is not self.assignment:
            stream.resolved = (self.assignment, self._resolve(stream))
        return stream.resolved[1]

    def _resolve(self, stream: AgentStream) -> Resolution:
        said = self.operated.get((stream.env, stream.agent_id))
        subject = Subject(
            stream.agent_id,
            None if said is None else said.explicit,
            stream.requested,
            {} if said is None else said.operator_tags,
            stream.tags,
        )
        return self.plan.resolution(stream.env, subject)

    def changed_since(self, before: View) -> Iterator[Running]:
        """
        Go through what was deployed since another view.
        """
        for place, running in self.plan.running.items():
            if before.plan.running.get(place) != running:
                yield running

    def announcement(self, running: Running) -> bytes:
        """
        Say that something is deployed, for clients that fetch it themselves.
        """
        data = {
            "name": running.name,
            "env": running.env,
            "version": running.version,
            "revision_hash": running.revision_hash,
            "deployment_seq": running.deployment_seq,
        }
        return frame("ruleset_updated", data, self.seq)

    def reassignment(self, agent_id: str, resolution: Resolution) -> bytes:
        """
        Tell an agent to run another ruleset.

        In this order, published clients load it once: they follow the first, and take the second for done.
        """
        first = {"_assignment_changed": True, "bundle_name": resolution.bundle_name}
        second = {
            "agent_id": agent_id,
            "bundle_name": resolution.bundle_name,
            "source": resolution.source.value,
            "rule_id": None if resolution.rule_id is None else str(resolution.rule_id),
        }
        return frame("contract_update", first, self.seq) + frame("assignment_changed", second, self.seq)

    async def update(
        self, scope: TenantScope, resources: Resources, running: Running, key_id: UUID
    ) -> tuple[bytes, int]:
        """
        Return the ruleset itself as an event, and the number of its deployment; made once for all streams.
        """
        place = (running.env, running.name, self.keys[key_id])
        if place not in self._updates:
            current = await DeploymentService(scope, resources.sealer).current(running.name, running.env, place[2])
            copied = (
                "bundle_name",
                "name",
                "env",
                "version",
                "revision_hash",
                "signature",
                "public_key",
                "key_id",
                "deployment_seq",
                "envelope",
                "envelope_signature",
                "yaml_bytes",
            )
            data = {"type": "contract_update", **{name: getattr(current, name) for name in copied}}
            self._updates[place] = frame("contract_update", data, self.seq), current.deployment_seq
        return self._updates[place]


def _assigning(plan: Plan) -> tuple[object, bool]:
    return plan.rules, plan.rules_first

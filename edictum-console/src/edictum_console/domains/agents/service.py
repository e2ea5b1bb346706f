"""
Remembering agents: who was seen, what operators say about it, and what it reports.

What an agent says about itself never counts against what operators say, and never decides more than what it would be
offered without saying anything but its tags.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import attrs

from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import TenantScope
from edictum_console.domains.agents.repository import AgentRepository
from edictum_console.domains.agents.schemas import AgentChange, BulkAssignment, Reported, StatusReport
from edictum_console.domains.assignment.resolution import Subject
from edictum_console.domains.assignment.service import CHANGED
from edictum_console.domains.assignment.tags import problem
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.environments.service import EnvironmentService
from edictum_console.domains.rulesets.service import RulesetService
from edictum_console.errors import NotFoundError, unfit
from edictum_console.ids import new_id
from edictum_console.resources import Caller
from edictum_console.security.actor import KeyActor

_SEEN_EVERY = timedelta(minutes=1)
_LARGEST_MANIFEST = 64 * 1024


@attrs.frozen
class Introduction:
    """
    What an agent says when it connects.

    Attributes:
        requested: The ruleset that it names.
        policy_version: The SHA-256 of what it runs.
        tags: What it says that it is; None where that cannot be tags.
        client: What it is made with.
        address: Where it comes from.
    """

    requested: str | None
    policy_version: str | None
    tags: Mapping[str, str] | None
    client: str | None
    address: str


@attrs.frozen
class Heard:
    """
    What something that an agent sent says about it.

    Attributes:
        policy_version: The SHA-256 of what it ran; None where that was not said.
        at: When it ran that.
    """

    agent_id: str
    policy_version: str | None
    at: datetime


class AgentService:
    """
    The agents of one tenant.
    """

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._rows = AgentRepository(scope)

    async def connected(self, actor: KeyActor, said: Introduction) -> str | None:
        """
        Remember an agent that connects.

        Returns:
            The ruleset that it insists on; None for none.  Clients keep the name that they were given here, and send it
            when they come back; what they asked for before still counts then.
        """
        values: dict[str, Any] = {"tags_ignored": said.tags is None, "client": said.client, "address": said.address}
        if said.tags is not None:
            values["reported_tags"] = dict(said.tags)
        row = await self._known(actor.env, actor.agent, {**values, "requested_name": said.requested})
        requested = said.requested
        if requested is not None and requested == row["assigned_name"]:
            requested = row["requested_name"]
        values["requested_name"] = requested
        now = await self._scope.database.now()
        if said.policy_version is not None and said.policy_version != row["applied_revision"]:
            values |= {"applied_revision": said.policy_version, "applied_at": now, "state": None}
            values |= {"applied_name": said.requested or row["assigned_name"], "last_error": None}
        if said.policy_version is not None:
            values["ungoverned"] = False
        changed = {name: value for name, value in values.items() if row[name] != value}
        if changed or now - row["last_seen_at"] > _SEEN_EVERY:
            await self._rows.change(row["id"], {**changed, "last_seen_at": now})
        return requested

    async def assigned(self, env: str, agent_ids: Collection[str], name: str) -> None:
        """
        Remember that agents are told to run a ruleset that they did not name.
        """
        now = await self._scope.database.now()
        await self._rows.change_all(env, agent_ids, {"assigned_name": name, "assigned_at": now})

    async def seen(self, env: str, agent_ids: Collection[str]) -> None:
        """
        Remember that agents are still there.
        """
        await self._rows.seen(env, agent_ids, await self._scope.database.now())

    async def heard(self, env: str, said: Collection[Heard]) -> set[str]:
        """
        Remember what agents run, from something else that they sent.

        What happened before an agent is known to run what it runs now says nothing about today: agents deliver events
        late, after an outage for example.

        Returns:
            The agents of which that is what is known now.
        """
        rows = {row["agent_id"]: row for row in await self._rows.among(env, {one.agent_id for one in said})}
        now = await self._scope.database.now()
        believed = set()
        for one in said:
            row = rows.get(one.agent_id) or await self._known(env, one.agent_id)
            values: dict[str, Any] = {}
            other = one.policy_version is not None and one.policy_version != row["applied_revision"]
            newer = row["applied_at"] is None or one.at > row["applied_at"]
            if other and newer:
                values = {"applied_revision": one.policy_version, "applied_at": now, "state": None, "last_error": None}
            if newer and row["ungoverned"] != (one.policy_version is None):
                values["ungoverned"] = one.policy_version is None
            if values or now - row["last_seen_at"] > _SEEN_EVERY:
                await self._rows.change(row["id"], {**values, "last_seen_at": now})
            known = {**row, **values}
            if known["ungoverned"] if one.policy_version is None else known["applied_revision"] == one.policy_version:
                believed.add(one.agent_id)
        return believed

    async def report(self, report: StatusReport, actor: KeyActor, address: str) -> tuple[dict[str, Any], bool]:
        """
        Remember what an agent reports.

        Returns:
            What is known of it, and whether it runs something else than before, or rejected it.

        Raises:
            InvalidError: The manifest is too large, or the tags cannot be tags.
        """
        manifest = None if report.manifest is None else json.dumps(report.manifest, separators=(",", ":"))
        if manifest is not None and len(manifest) > _LARGEST_MANIFEST:
            raise unfit(("manifest",), f"must be at most {_LARGEST_MANIFEST} bytes as JSON")
        if report.tags is not None and (text := problem(report.tags)) is not None:
            raise unfit(("tags",), text)
        row = await self._known(actor.env, actor.agent)
        now = await self._scope.database.now()
        values: dict[str, Any] = {
            "state": report.state.value,
            "last_error": report.error if report.state is Reported.REJECTED else None,
            "buffered_events": report.buffered_events,
            "dropped_events": report.dropped_events,
            "address": address,
            "last_seen_at": now,
        }
        given = {"client": report.client, "reported_tags": report.tags, "manifest": manifest}
        values |= {name: value for name, value in given.items() if value is not None}
        if report.policy_version is not None:
            values |= {"applied_revision": report.policy_version, "applied_at": now, "ungoverned": False}
            values["applied_name"] = report.bundle_name or row["applied_name"]
        await self._rows.change(row["id"], values)
        known = {**row, **values}
        return known, any(known[name] != row[name] for name in ("applied_revision", "state", "last_error"))

    async def change(self, registration_id: UUID, change: AgentChange, caller: Caller) -> dict[str, Any]:
        """
        Change what operators say about an agent.

        Raises:
            NotFoundError: There is no such agent.
            ForbiddenError: Its environment is protected, and the caller is no administrator.
            InvalidError: The ruleset is not there, or the tags cannot be tags.
        """
        values = {name: value for name, value in attrs.asdict(change).items() if value is not None}
        async with self._scope.transaction():
            row = await self._rows.find_by_id(registration_id)
            if row is None:
                raise NotFoundError("there is no such agent", "agent_not_found")
            if change.operator_tags is not None and (text := problem(change.operator_tags)) is not None:
                raise unfit(("operator_tags",), text)
            if values.keys() & {"operator_tags", "bundle_name"}:
                await EnvironmentService(self._scope).require_open_to(row["env"], caller)
            if change.bundle_name is not None:
                values["bundle_name"] = await self._ruleset(change.bundle_name)
            if values:
                await self._rows.change(registration_id, values)
                await self._changed(caller, "agent.change", row["env"], row["agent_id"], values)
            return {**row, **values}

    async def assign(self, bulk: BulkAssignment, caller: Caller) -> int:
        """
        Give several agents a ruleset; say how many there are.

        Raises:
            NotFoundError: The environment is not there.
            ForbiddenError: It is protected, and the caller is no administrator.
            InvalidError: The ruleset is not there.
        """
        async with self._scope.transaction():
            await EnvironmentService(self._scope).require_open_to(bulk.env, caller)
            name = await self._ruleset(bulk.bundle_name)
            updated = await self._rows.change_all(bulk.env, set(bulk.agent_ids), {"bundle_name": name})
            facts = {"bundle_name": name, "agents": sorted(set(bulk.agent_ids))}
            await self._changed(caller, "agent.assign", bulk.env, None, facts)
            return updated

    async def operated(self) -> dict[tuple[str, str], Subject]:
        """
        Return what operators say about agents, by environment and agent id.
        """
        return {
            (row["env"], row["agent_id"]): Subject(
                row["agent_id"], row["bundle_name"], operator_tags=row["operator_tags"]
            )
            for row in await self._rows.operated()
        }

    async def _known(self, env: str, agent_id: str, first: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """
        Return what is known of an agent, which is remembered from now on.

        Args:
            env: Where it runs.
            agent_id: What it calls itself.
            first: What is remembered of it, where nothing is known yet.
        """
        row = await self._rows.find(env, agent_id)
        if row is None:
            now = await self._scope.database.now()
            place = {"id": new_id(), "env": env, "agent_id": agent_id, "last_seen_at": now}
            await self._rows.add({**(first or {}), **place})
            row = await self._rows.find(env, agent_id)
        if row is None:
            raise RuntimeError("an agent that was just remembered is not there")
        return row

    async def _ruleset(self, name: str) -> str | None:
        if name and not await RulesetService(self._scope).exists(name):
            raise unfit(("bundle_name",), "is not a ruleset; upload it first")
        return name or None

    async def _changed(
        self, caller: Caller, action: str, env: str, agent_id: str | None, facts: Mapping[str, Any]
    ) -> None:
        await AuditService(self._scope).record(caller, action, agent_id or env, {"env": env, **facts})
        await Outbox(self._scope).announce(CHANGED, {"agent_id": agent_id}, env=env, agent_id=agent_id)

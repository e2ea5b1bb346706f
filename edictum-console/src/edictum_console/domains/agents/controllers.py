"""
Routes of agents.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias
from uuid import UUID

from litestar import Controller, Request, get, patch, post
from litestar.datastructures import State
from litestar.di import Provide
from litestar.params import FromPath, JSONBody, QueryParameter

from edictum_console.db.scope import TenantScope
from edictum_console.domains.agents.fleet import FleetService
from edictum_console.domains.agents.schemas import (
    Agent,
    AgentChange,
    Agents,
    BulkAssignment,
    Explanation,
    LiveAgents,
    Reported,
    StatusAnswer,
    StatusReport,
    Updated,
)
from edictum_console.domains.agents.service import AgentService
from edictum_console.domains.assignment.tags import from_query
from edictum_console.errors import unfit
from edictum_console.http.parameters import Cursor, Injected, Limit
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import KeyActor, KeyScope, Role

REPORT_EVERY_SECONDS = 60

_TOLD = (Reported.APPLIED, Reported.REJECTED)

Env: TypeAlias = Annotated[str | None, QueryParameter(max_length=128, description="Only those of an environment.")]


def provide_service(scope_of_caller: Injected[TenantScope]) -> AgentService:
    """
    Make the service for the tenant of the caller.
    """
    return AgentService(scope_of_caller)


def provide_fleet(scope_of_caller: Injected[TenantScope], resources: Injected[Resources]) -> FleetService:
    """
    Make the service of the fleet for the tenant of the caller.
    """
    return FleetService(scope_of_caller, resources.sealer, resources.stores.presence)


_DEPENDENCIES = {
    "service": Provide(provide_service, sync_to_thread=False),
    "fleet": Provide(provide_fleet, sync_to_thread=False),
}


class StatusController(Controller):
    """
    What agents report about themselves.
    """

    path = "/agents/self"
    tags = ("agents",)
    dependencies = _DEPENDENCIES

    @post("/status", guards=[guards.key(KeyScope.AGENT)], status_code=200, summary="Report what the agent runs")
    async def report(
        self,
        service: Injected[AgentService],
        fleet: Injected[FleetService],
        request: Request[KeyActor, str, Any],
        data: JSONBody[StatusReport],
        state: State,
    ) -> StatusAnswer:
        """
        Remember what an agent reports about itself, and tell it what it is to run.
        """
        row, news = await service.report(data, request.user, request.auth)
        if news and data.state in _TOLD:
            facts = {"agent_id": row["agent_id"], "env": row["env"], "revision_hash": row["applied_revision"]}
            facts |= {"error": data.error} if data.state is Reported.REJECTED else {}
            state.pulse.happened(request.user.tenant_id, f"agent_{data.state}", facts)
        return StatusAnswer(await fleet.desired(row), REPORT_EVERY_SECONDS)


class AgentController(Controller):
    """
    The fleet.
    """

    path = "/agents"
    tags = ("agents",)
    dependencies = _DEPENDENCIES

    @get(guards=[guards.person(Role.VIEWER)], summary="List agents")
    async def list_agents(
        self, fleet: Injected[FleetService], env: Env = None, cursor: Cursor = None, limit: Limit = 100
    ) -> Agents:
        """
        List all agents that were ever seen, newest first.
        """
        return await fleet.page(env, cursor, limit)

    @get("/status", guards=[guards.person(Role.VIEWER)], summary="List agents that are connected")
    async def live(
        self,
        fleet: Injected[FleetService],
        env: Env = None,
        bundle_name: Annotated[
            str | None, QueryParameter(max_length=128, description="Only those that are to run a ruleset.")
        ] = None,
    ) -> LiveAgents:
        """
        List agents that are connected, and whether each runs what it should.
        """
        return await fleet.live(env, bundle_name)

    @get("/{agent_id:str}", guards=[guards.person(Role.VIEWER)], summary="Show an agent")
    async def show(self, fleet: Injected[FleetService], agent_id: FromPath[str], env: Env = None) -> Agent:
        """
        Show an agent; the environment is needed where it runs in several.
        """
        return await fleet.one(agent_id, env)


class RegistrationController(Controller):
    """
    What operators say about agents.
    """

    path = "/agent-registrations"
    tags = ("agents",)
    dependencies = _DEPENDENCIES

    @get(guards=[guards.person(Role.VIEWER)], summary="List agents that were seen")
    async def list_registrations(
        self, fleet: Injected[FleetService], env: Env = None, cursor: Cursor = None, limit: Limit = 100
    ) -> Agents:
        """
        List all agents that were ever seen, newest first.
        """
        return await fleet.page(env, cursor, limit)

    @patch("/{registration_id:uuid}", guards=[guards.person(Role.OPERATOR)], summary="Change an agent")
    async def change(
        self,
        service: Injected[AgentService],
        fleet: Injected[FleetService],
        caller: Injected[Caller],
        registration_id: FromPath[UUID],
        data: JSONBody[AgentChange],
    ) -> Agent:
        """
        Change an agent's name, tags or ruleset; it learns of it if it is connected.
        """
        return await fleet.shown(await service.change(registration_id, data, caller))

    @post("/bulk-assign", guards=[guards.person(Role.OPERATOR)], status_code=200, summary="Give agents a ruleset")
    async def bulk_assign(
        self, service: Injected[AgentService], caller: Injected[Caller], data: JSONBody[BulkAssignment]
    ) -> Updated:
        """
        Give several agents of an environment a ruleset; those that are connected learn of it.
        """
        return Updated(await service.assign(data, caller))


class ExplanationController(Controller):
    """
    Why an agent is to run what it is to run.
    """

    path = "/assignment-rules/resolve"
    tags = ("assignment",)
    dependencies = _DEPENDENCIES

    @get("/{agent_id:str}", guards=[guards.person(Role.VIEWER)], summary="Explain an assignment")
    async def explain(
        self,
        fleet: Injected[FleetService],
        agent_id: FromPath[str],
        env: Annotated[str, QueryParameter(max_length=128, description="Where the agent runs.")],
        reported: Annotated[
            str | None,
            QueryParameter(name="tags", max_length=32_768, description="Tags that it would report, as a JSON object."),
        ] = None,
    ) -> Explanation:
        """
        Go through all places where the agent's ruleset may come from; the agent need not have been seen.
        """
        tags = None if reported is None else from_query(reported)
        if reported is not None and tags is None:
            raise unfit(("tags",), "must be a JSON object of texts, as agents report them")
        return await fleet.explain(agent_id, env, tags)

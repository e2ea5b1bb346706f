"""
Routes of figures.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from litestar import Controller, Request, get
from litestar.di import Provide
from litestar.params import QueryParameter

from edictum_console.db.scope import TenantScope
from edictum_console.domains.statistics.schemas import Overview, RuleStatistics
from edictum_console.domains.statistics.service import StatisticsService
from edictum_console.errors import ForbiddenError
from edictum_console.http.parameters import Injected
from edictum_console.security import guards
from edictum_console.security.actor import KeyActor, KeyScope, PersonActor, Role

Env = Annotated[str | None, QueryParameter(max_length=128)]
Moment = Annotated[datetime | None, QueryParameter(description="RFC 3339; UTC where no zone is given.")]


def provide_service(scope_of_caller: Injected[TenantScope]) -> StatisticsService:
    """
    Make the service for the tenant of the caller.
    """
    return StatisticsService(scope_of_caller)


class StatisticsController(Controller):
    """
    Figures.
    """

    path = "/stats"
    tags = ("statistics",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(
        "/overview",
        guards=[guards.person_or_key(Role.VIEWER, KeyScope.EVENTS_READ)],
        summary="Show the figures of the home page",
    )
    async def overview(
        self,
        service: Injected[StatisticsService],
        request: Request[KeyActor | PersonActor, str, Any],
        env: Env = None,
        since: Moment = None,
    ) -> Overview:
        """
        Count what happened in the last day, or since another time; for an API key, in its own environment.
        """
        if isinstance(request.user, KeyActor):
            if request.user.agent_pattern is not None:
                raise ForbiddenError("the figures are about all agents, and the API key is for some", "agent_mismatch")
            if env not in (None, request.user.env):
                raise ForbiddenError("the API key is for another environment", "env_mismatch")
            env = request.user.env
        return await service.overview(env, since)

    @get("/contracts", guards=[guards.person(Role.VIEWER)], summary="Show what rules did")
    async def contracts(
        self,
        service: Injected[StatisticsService],
        env: Env = None,
        since: Moment = None,
        until: Moment = None,
    ) -> RuleStatistics:
        """
        Count for each rule how often it was evaluated, and what came of it, in the last day or another time.
        """
        return await service.rules(env, since, until)

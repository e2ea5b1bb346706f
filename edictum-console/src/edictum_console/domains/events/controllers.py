"""
Routes of the decision log, for agents of today, for older ones, and for people.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, get, post
from litestar.datastructures import State
from litestar.di import Provide
from litestar.params import FromPath, QueryParameter

from edictum_console.db.scope import TenantScope
from edictum_console.domains.events.batches import collected, read_batch
from edictum_console.domains.events.queries import EventQueryService
from edictum_console.domains.events.repository import Filter
from edictum_console.domains.events.schemas import (
    BATCH_SCHEMA,
    EventPage,
    Facets,
    Histogram,
    Ingested,
    WorkflowState,
)
from edictum_console.domains.events.service import IngestService
from edictum_console.domains.events.vocabulary import canonical
from edictum_console.domains.events.wire import microseconds_of
from edictum_console.http.documenting import with_body
from edictum_console.http.parameters import Cursor, Injected, Limit
from edictum_console.resources import Resources
from edictum_console.security import guards
from edictum_console.security.actor import KeyActor, KeyScope, PersonActor, Role

Values = Annotated[list[str] | None, QueryParameter(max_items=100, description="One of these; may be repeated.")]
Moment = Annotated[datetime | None, QueryParameter(description="RFC 3339; UTC where no zone is given.")]
Text = Annotated[str | None, QueryParameter(max_length=255)]
Search = Annotated[
    str | None, QueryParameter(min_length=1, max_length=255, description="Part of an agent, tool, rule or reason.")
]
Offset = Annotated[int, QueryParameter(ge=0, le=100_000)]
Seconds = Annotated[int, QueryParameter(ge=60, le=86_400, description="How long a bucket is; whole minutes.")]
Known = Request[KeyActor | PersonActor, str, Any]


def provide_ingest(
    scope_of_caller: Injected[TenantScope], resources: Injected[Resources], request: Request[Any, Any, State]
) -> IngestService:
    """
    Make the service that takes events of the caller's tenant in.
    """
    stores, settings = resources.stores, resources.settings
    state = request.app.state  # itself: what the framework hands in is a copy, made for each request
    return IngestService(
        scope_of_caller, state.gathering, state.hearing, stores.limits, settings, resources.metrics, state.pulse
    )


def provide_queries(scope_of_caller: Injected[TenantScope]) -> EventQueryService:
    """
    Make the service that reads the caller's tenant's decision log.
    """
    return EventQueryService(scope_of_caller)


def provide_filter(
    agent_id: Values = None,
    session_id: Values = None,
    parent_session_id: Values = None,
    tool_name: Values = None,
    action: Values = None,
    verdict: Values = None,
    mode: Values = None,
    rule: Values = None,
    policy_version: Values = None,
    principal: Values = None,
    env: Values = None,
    since: Moment = None,
    until: Moment = None,
    q: Search = None,
) -> Filter:
    """
    Read which events are asked for; ``verdict`` is the older name of ``action``.
    """
    words = [canonical(word) or word for word in [*(action or ()), *(verdict or ())]]
    chosen = {
        "agent_id": agent_id,
        "session_id": session_id,
        "parent_session_id": parent_session_id,
        "tool_name": tool_name,
        "action": words,
        "mode": mode,
        "rule_name": rule,
        "policy_version": policy_version,
        "principal_id": principal,
        "env": env,
    }
    return Filter(
        {name: values for name, values in chosen.items() if values},
        None if since is None else microseconds_of(since),
        None if until is None else microseconds_of(until),
        q,
    )


DEPENDENCIES = {
    "ingesting": Provide(provide_ingest, sync_to_thread=False),
    "queries": Provide(provide_queries, sync_to_thread=False),
    "wanted": Provide(provide_filter, sync_to_thread=False),
}


async def _ingest(ingesting: IngestService, resources: Resources, request: Request[KeyActor, str, Any]) -> Ingested:
    encoding = request.headers.get("content-encoding")
    body = await collected(request.stream(), encoding, resources.settings.events_body)
    return await ingesting.ingest(read_batch(body), request.user)


class AgentEventController(Controller):
    """
    The decision log, by agents and scripts.
    """

    path = "/events"
    tags = ("events",)
    dependencies = DEPENDENCIES

    @post(
        guards=[guards.key(KeyScope.AGENT)],
        status_code=200,
        summary="Deliver events",
        request_max_body_size=None,
        operation_class=with_body(BATCH_SCHEMA),
    )
    async def ingest(
        self,
        ingesting: Injected[IngestService],
        resources: Injected[Resources],
        request: Request[KeyActor, str, Any],
    ) -> Ingested:
        """
        Store events, each once however often it is delivered; what cannot be stored is named by its index.
        """
        return await _ingest(ingesting, resources, request)

    @get(guards=[guards.key(KeyScope.EVENTS_READ)], summary="List events")
    async def list_events(
        self,
        queries: Injected[EventQueryService],
        request: Request[KeyActor, str, Any],
        wanted: Injected[Filter],
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> EventPage:
        """
        List events of the key's environment, the newest first.
        """
        return await queries.page(wanted, request.user, cursor, limit)


class EventController(Controller):
    """
    The decision log, for people; and for agents that were written for an older console.
    """

    path = "/events"
    tags = ("events",)
    dependencies = DEPENDENCIES

    @post(
        guards=[guards.key(KeyScope.AGENT)],
        status_code=200,
        summary="Deliver events, by the older path",
        deprecated=True,
        request_max_body_size=None,
        operation_class=with_body(BATCH_SCHEMA),
    )
    async def ingest(
        self,
        ingesting: Injected[IngestService],
        resources: Injected[Resources],
        request: Request[KeyActor, str, Any],
    ) -> Ingested:
        """
        Store events, each once however often it is delivered; what cannot be stored is named by its index.
        """
        return await _ingest(ingesting, resources, request)

    @get(guards=[guards.person_or_key(Role.VIEWER, KeyScope.EVENTS_READ)], summary="List events")
    async def list_events(
        self,
        queries: Injected[EventQueryService],
        request: Known,
        wanted: Injected[Filter],
        cursor: Cursor = None,
        offset: Offset = 0,
        limit: Limit = 100,
    ) -> EventPage | list[dict[str, Any]]:
        """
        List events, the newest first: a page for people, and the plain list of older consoles for API keys.
        """
        if isinstance(request.user, KeyActor):
            return await queries.older_page(wanted, request.user, offset, limit)
        return await queries.page(wanted, request.user, cursor, limit)

    @get("/facets", guards=[guards.person(Role.VIEWER)], summary="Count events by their values")
    async def facets(self, queries: Injected[EventQueryService], wanted: Injected[Filter]) -> Facets:
        """
        Count the events of the last day, or of another window, by agent, tool, action, mode, rule and environment.
        """
        return await queries.facets(wanted)

    @get("/histogram", guards=[guards.person(Role.VIEWER)], summary="Count events over time")
    async def histogram(
        self, queries: Injected[EventQueryService], wanted: Injected[Filter], bucket_seconds: Seconds = 3600
    ) -> Histogram:
        """
        Count the events of the last day, or of another window, by class and time.
        """
        return await queries.histogram(wanted, bucket_seconds)

    @get(
        "/{event_id:uuid}",
        guards=[guards.person_or_key(Role.VIEWER, KeyScope.EVENTS_READ)],
        summary="Show an event",
    )
    async def read(
        self, queries: Injected[EventQueryService], request: Known, event_id: FromPath[UUID]
    ) -> dict[str, Any]:
        """
        Show one event.
        """
        return await queries.read(event_id, request.user)


class WorkflowStateController(Controller):
    """
    Where agents' workflows stand.
    """

    path = "/agents/{agent_id:str}/workflow-state"
    tags = ("events",)
    dependencies = DEPENDENCIES

    @get(guards=[guards.person_or_key(Role.VIEWER, KeyScope.AGENT)], summary="Show a workflow's state")
    async def read(
        self,
        queries: Injected[EventQueryService],
        request: Known,
        agent_id: FromPath[str],
        session_id: Text = None,
        env: Text = None,
    ) -> WorkflowState:
        """
        Show where the workflow of a session stands, or of the agent's last session.
        """
        return await queries.workflow_state(agent_id, session_id, env, request.user)

"""
The route of streams.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias
from uuid import uuid4

from litestar import Controller, Request, get
from litestar.params import QueryParameter
from litestar.response import Stream
from litestar.types import ASGIApp

from edictum_console.db.scope import TenantScope
from edictum_console.domains.agents.service import AgentService, Introduction
from edictum_console.domains.approvals.wire import Dialect
from edictum_console.domains.assignment.tags import from_query
from edictum_console.domains.stream.hub import Hub
from edictum_console.domains.stream.pages import PageStream, Topic, topics_of
from edictum_console.domains.stream.view import AgentStream
from edictum_console.errors import ForbiddenError, unfit
from edictum_console.http.bodies import IDENTIFIER
from edictum_console.http.parameters import Injected
from edictum_console.security import guards
from edictum_console.security.actor import KeyActor, KeyScope, PersonActor
from edictum_console.state.ports import Present

_LONGEST_CLIENT = 255
_LARGEST_CURSOR = 2**63 - 1

Name: TypeAlias = Annotated[
    str | None, QueryParameter(pattern=IDENTIFIER, max_length=128, description="The ruleset that the agent asks for.")
]


class EventStream(Stream):
    """
    An answer that goes on until one of both sides ends it.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(iter(()), media_type="text/event-stream")
        self._app = app

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> Any:
        """
        Hand the request over to what serves the stream.
        """
        return self._app


class StreamController(Controller):
    """
    What agents are told without asking.
    """

    path = "/stream"
    tags = ("stream",)

    @get(guards=[guards.key(KeyScope.AGENT)], media_type="text/event-stream", summary="Open a stream of events")
    async def open(
        self,
        hub: Injected[Hub],
        scope_of_caller: Injected[TenantScope],
        request: Request[KeyActor, str, Any],
        env: Annotated[
            str | None, QueryParameter(max_length=128, description="The environment, which is the key's.")
        ] = None,
        bundle_name: Name = None,
        policy_version: Annotated[
            str | None, QueryParameter(max_length=128, description="The SHA-256 of the ruleset that the agent runs.")
        ] = None,
        reported: Annotated[
            str | None, QueryParameter(name="tags", description="What the agent is: a JSON object of texts.")
        ] = None,
        cursor: Annotated[
            str | None, QueryParameter(max_length=32, description="The id of the last event that was seen.")
        ] = None,
    ) -> EventStream:
        """
        Tell an agent what it is to run, at once and whenever that changes, and what became of its requests.
        """
        actor = request.user
        if env is not None and env != actor.env:
            raise ForbiddenError("the API key is for another environment", "env_mismatch")
        client = request.headers.get("x-edictum-client", "")
        said = Introduction(
            bundle_name,
            policy_version or None,
            from_query(reported),
            client if client.isprintable() and 0 < len(client) <= _LONGEST_CLIENT else None,
            request.auth,
        )
        stream = AgentStream(
            present=Present(actor.env, actor.agent, uuid4().hex),
            key_id=actor.key_id,
            requested=await AgentService(scope_of_caller).connected(actor, said),
            tags=said.tags or {},
            name=said.requested,
            revision=said.policy_version,
            cursor=_number(cursor or request.headers.get("last-event-id")),
            dialect=Dialect.OLDER if request.url.path.startswith(Dialect.OLDER.value) else Dialect.CURRENT,
        )
        return EventStream(await hub.admit(actor.tenant_id, stream))


class PageStreamController(Controller):
    """
    What pages are told without asking.
    """

    path = "/stream/dashboard"
    tags = ("stream",)

    @get(guards=[guards.login], media_type="text/event-stream", summary="Open a stream of what changes, for a page")
    async def open(
        self,
        hub: Injected[Hub],
        request: Request[PersonActor, str, Any],
        topics: Annotated[
            str | None,
            QueryParameter(max_length=128, description=f"Some of {', '.join(Topic)}, separated by commas; all."),
        ] = None,
    ) -> EventStream:
        """
        Say what changes, with ids and labels; the page asks for what it shows.
        """
        chosen = topics_of(topics)
        if chosen is None:
            raise unfit(("topics",), f"must be some of: {', '.join(Topic)}")
        person = request.user
        stream = PageStream(person.user_id, person.token, chosen, _number(request.headers.get("last-event-id")))
        return EventStream(await hub.admit_page(person.tenant_id, stream))


def _number(text: str | None) -> int | None:
    """
    Read the id of an event; one that nobody gave is as good as a very old one.
    """
    if not text:
        return None
    return min(int(text), _LARGEST_CURSOR) if text.isascii() and text.isdigit() and len(text) <= 32 else -1

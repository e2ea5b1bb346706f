"""
Routes of channels of notifications.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from litestar import Controller, delete, get, post, put
from litestar.datastructures import State
from litestar.di import Provide
from litestar.params import FromPath, JSONBody

from edictum_console.db.scope import TenantScope
from edictum_console.domains.accounts.service import StoredPeople
from edictum_console.domains.notifications.schemas import (
    ChangedChannel,
    Channel,
    Channels,
    Deliveries,
    Identities,
    Identity,
    NewChannel,
    NewIdentity,
    Tried,
)
from edictum_console.domains.notifications.service import ChannelService
from edictum_console.errors import RateLimitedError
from edictum_console.http.bodies import Done
from edictum_console.http.parameters import Cursor, Injected, Limit
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import Role
from edictum_console.state import ports

_TESTS = ports.Limit("channel-tests", 10, timedelta(minutes=1))


def provide_service(
    scope_of_caller: Injected[TenantScope], resources: Injected[Resources], state: State
) -> ChannelService:
    """
    Make the service for the tenant of the caller.
    """
    return ChannelService(scope_of_caller, state.messenger, StoredPeople(resources.scopes))


class ChannelController(Controller):
    """
    Places where people are told of requests.
    """

    path = "/notifications/channels"
    tags = ("notifications",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.person(Role.VIEWER)], summary="List channels")
    async def list_channels(self, service: Injected[ChannelService]) -> Channels:
        """
        List all channels, by name; secrets are hidden.
        """
        return await service.all()

    @post(guards=[guards.person(Role.ADMIN)], summary="Add a channel")
    async def add(
        self, service: Injected[ChannelService], caller: Injected[Caller], data: JSONBody[NewChannel]
    ) -> Channel:
        """
        Add a channel; nothing is sent yet.
        """
        return await service.add(data, caller)

    @get("/{channel_id:uuid}", guards=[guards.person(Role.VIEWER)], summary="Show a channel")
    async def read(self, service: Injected[ChannelService], channel_id: FromPath[UUID]) -> Channel:
        """
        Show a channel; secrets are hidden.
        """
        return await service.read(channel_id)

    @put("/{channel_id:uuid}", guards=[guards.person(Role.ADMIN)], summary="Change a channel")
    async def change(
        self,
        service: Injected[ChannelService],
        caller: Injected[Caller],
        channel_id: FromPath[UUID],
        data: JSONBody[ChangedChannel],
    ) -> Channel:
        """
        Replace a channel, but for secrets that are not named; to use it again, say that it is enabled.
        """
        return await service.change(channel_id, data, caller)

    @delete("/{channel_id:uuid}", guards=[guards.person(Role.ADMIN)], status_code=200, summary="Remove a channel")
    async def remove(
        self, service: Injected[ChannelService], caller: Injected[Caller], channel_id: FromPath[UUID]
    ) -> Done:
        """
        Remove a channel; buttons in its messages decide nothing any more.
        """
        await service.delete(channel_id, caller)
        return Done()

    @post("/{channel_id:uuid}/test", guards=[guards.person(Role.ADMIN)], status_code=200, summary="Try a channel out")
    async def try_out(
        self,
        service: Injected[ChannelService],
        resources: Injected[Resources],
        scope_of_caller: Injected[TenantScope],
        caller: Injected[Caller],
        channel_id: FromPath[UUID],
    ) -> Tried:
        """
        Send a message that says that it is a test, and with Telegram connect its buttons; ten times a minute at most.
        """
        wait = await resources.stores.limits.take(_TESTS, str(scope_of_caller.tenant_id))
        if wait:
            raise RateLimitedError("too many tests; try again later", wait)
        return await service.try_out(channel_id, caller)

    @get("/{channel_id:uuid}/deliveries", guards=[guards.person(Role.OPERATOR)], summary="List a channel's messages")
    async def deliveries(
        self,
        service: Injected[ChannelService],
        channel_id: FromPath[UUID],
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> Deliveries:
        """
        List messages to a channel, newest first, and what became of them.
        """
        return await service.deliveries(channel_id, cursor, limit)

    @get("/{channel_id:uuid}/identities", guards=[guards.person(Role.ADMIN)], summary="List who is known in a channel")
    async def identities(self, service: Injected[ChannelService], channel_id: FromPath[UUID]) -> Identities:
        """
        List who in a channel is which person of the console.
        """
        return await service.identities(channel_id)

    @post("/{channel_id:uuid}/identities", guards=[guards.person(Role.ADMIN)], summary="Say who is who in a channel")
    async def identify(
        self,
        service: Injected[ChannelService],
        caller: Injected[Caller],
        channel_id: FromPath[UUID],
        data: JSONBody[NewIdentity],
    ) -> Identity:
        """
        Say that somebody in a channel is a person of the console, whose role then holds for what they press.
        """
        return await service.identify(channel_id, data, caller)

    @delete(
        "/{channel_id:uuid}/identities/{identity_id:uuid}",
        guards=[guards.person(Role.ADMIN)],
        status_code=200,
        summary="Say no more who somebody is",
    )
    async def forget(
        self,
        service: Injected[ChannelService],
        caller: Injected[Caller],
        channel_id: FromPath[UUID],
        identity_id: FromPath[UUID],
    ) -> Done:
        """
        Say no more who somebody in a channel is.
        """
        await service.forget(channel_id, identity_id, caller)
        return Done()

"""
The composition root: the only place where anything is made and put together.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

import attrs
from litestar import Litestar, Request, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig

from edictum_console import __version__
from edictum_console.api.agent import agent_routes
from edictum_console.api.human import human_routes
from edictum_console.db.database import Database
from edictum_console.db.migrations import check_schema, migrate
from edictum_console.db.opening import database_of
from edictum_console.db.scope import Scopes, TenantScope
from edictum_console.domains.accounts.service import StoredPeople
from edictum_console.domains.events.gathering import EventGathering
from edictum_console.domains.events.hearing import Hearing
from edictum_console.domains.keys.service import StoredKeys
from edictum_console.domains.notifications.delivering import Deliverer
from edictum_console.domains.notifications.senders.parts import Providers
from edictum_console.domains.notifications.sending import Messenger
from edictum_console.domains.operations.controllers import MetricsController
from edictum_console.domains.playground.process import Evaluator
from edictum_console.domains.stream.hub import Hub, Rhythm
from edictum_console.domains.tenants.service import SetupService
from edictum_console.domains.tokens.service import StoredTokens
from edictum_console.errors import ConflictError, UnauthorizedError
from edictum_console.http.bodies import BodyPlugin
from edictum_console.http.documenting import Document
from edictum_console.http.errors import answer
from edictum_console.http.headers import ResponseHeaders, request_id
from edictum_console.http.measuring import BeginningMiddleware, Measuring
from edictum_console.http.parameters import Injected
from edictum_console.http.paths import AddressMiddleware
from edictum_console.outbound.http import Outbound
from edictum_console.outbound.targets import Targets
from edictum_console.resources import Caller, Resources, Stores
from edictum_console.security import guards
from edictum_console.security.actor import Actor, Anonymous, Role
from edictum_console.security.api_keys import KeyVerifier
from edictum_console.security.authentication import AuthenticationMiddleware, Authenticator
from edictum_console.security.logins import LONGEST, LoginKeeper
from edictum_console.security.passwords import Hasher
from edictum_console.security.script_tokens import TokenSigner
from edictum_console.security.sealing import Sealer
from edictum_console.settings import Settings
from edictum_console.state.database import DatabaseLogins, DatabaseSessionValues
from edictum_console.state.memory import LocalMemory, MemoryBus, MemoryPresence, MemoryRateLimits
from edictum_console.state.ports import Bus, Limit, Signal
from edictum_console.state.pulse import Pulse
from edictum_console.state.redis import (
    RedisBus,
    RedisLogins,
    RedisMemory,
    RedisPresence,
    check_redis,
    client_of,
    ping,
)
from edictum_console.state.redis_limits import RedisRateLimits
from edictum_console.state.redis_values import RedisSessionValues
from edictum_console.workers import Worker, workers_of, working

Prepare: TypeAlias = Callable[[Resources], Awaitable[None]]

logger = logging.getLogger(__name__)

LARGEST_BODY = 2 * 1024 * 1024


def create_app(
    settings: Settings,
    *,
    hasher: Hasher | None = None,
    rhythm: Rhythm | None = None,
    prepare: Prepare | None = None,
    providers: Providers | None = None,
) -> Litestar:
    """
    Make the application; it connects when it is started.

    Args:
        settings: What the operator decides.
        hasher: Hashes passwords and keys; None makes one with the usual cost.
        rhythm: How often streams are looked after; None for the usual.
        prepare: Awaited once the database can be used, before anybody is let in.
        providers: Where messages for chats go; None for the providers themselves.
    """
    console = _Console.build(settings, hasher or Hasher(), prepare, providers or Providers())
    resources = console.resources
    hub = Hub(resources, rhythm or Rhythm(), console.pulse)

    @asynccontextmanager
    async def running(app: Litestar) -> AsyncIterator[None]:
        async with console.running(app), hub.running():
            yield

    people = StoredPeople(resources.scopes)
    authenticator = Authenticator(
        settings,
        resources.verifier,
        resources.logins,
        people,
        StoredTokens(resources.scopes, TokenSigner(settings.secret_key), people),
        resources.stores.limits,
        Limit("requests", settings.requests_per_minute, timedelta(minutes=1)),
    )
    return Litestar(
        [*human_routes(), *agent_routes(), MetricsController],
        cors_config=_cors(settings.cors_origins) if settings.cors_origins else None,
        before_send=[ResponseHeaders(settings.secure), Measuring(resources.metrics)],
        dependencies={
            "caller": Provide(provide_caller, sync_to_thread=False),
            "hub": Provide(lambda: hub, sync_to_thread=False),
            "resources": Provide(lambda: resources, sync_to_thread=False),
            "scope_of_caller": Provide(provide_scope, sync_to_thread=False),
        },
        exception_handlers={Exception: answer},
        lifespan=[running],
        logging_config=None,
        middleware=[BeginningMiddleware(), AddressMiddleware(), AuthenticationMiddleware(authenticator)],
        openapi_config=None if settings.production else _openapi(),
        plugins=[BodyPlugin()],
        request_max_body_size=LARGEST_BODY,
        state=State(
            {
                "database": console.database,
                "gathering": EventGathering(),
                "hearing": Hearing(),
                "metrics_token": settings.metrics_token,
                "hub": hub,
                "evaluator": Evaluator(),
                "limits": resources.stores.limits,
                "messenger": console.messenger,
                "pulse": console.pulse,
                "settings": settings,
                "workers": console.workers,
            }
        ),
    )


def resources_of(settings: Settings, database: Database, redis: Any, hasher: Hasher) -> Resources:
    """
    Make what requests share, and what a command needs of it.

    Args:
        settings: What the operator decides.
        database: Their database.
        redis: A client of their Redis, or None.
        hasher: Hashes passwords and keys.
    """
    bus: Bus = MemoryBus() if redis is None else RedisBus(redis)

    async def wake(tenant_id: UUID) -> None:
        await bus.send(Signal("wake", tenant_id))

    scopes = Scopes(database, wake)
    if redis is None:
        stores = Stores(
            DatabaseSessionValues(scopes),
            DatabaseLogins(database),
            MemoryRateLimits(),
            bus,
            MemoryPresence(),
            LocalMemory(),
            database.ping,
        )
    else:
        stores = Stores(
            RedisSessionValues(redis),
            RedisLogins(redis, LONGEST),
            RedisRateLimits(redis),
            bus,
            RedisPresence(redis),
            RedisMemory(redis),
            lambda: ping(redis),
        )
    verifier = KeyVerifier(StoredKeys(database), hasher, stores.limits)
    logins = LoginKeeper(stores.logins, settings.secret_key, settings.session_ttl)
    sealer = Sealer(settings.sealing_key, settings.previous_sealing_key)
    return Resources(settings, scopes, stores, hasher, verifier, logins, sealer)


def provide_caller(request: Request[Actor, str, Any]) -> Caller:
    """
    Say who makes a request.
    """
    return Caller(request.user, request.auth, request_id(request.scope))


def provide_scope(request: Request[Actor, str, Any], resources: Injected[Resources]) -> TenantScope:
    """
    Make the scope of whoever makes a request.

    Raises:
        UnauthorizedError: Nobody is signed in.
    """
    if isinstance(request.user, Anonymous):
        raise UnauthorizedError("sign in first", "not_signed_in")
    return resources.scopes.of(request.user.tenant_id)


def _cors(origins: Sequence[str]) -> CORSConfig:
    """
    Let pages of other origins use the API; logins are refused to them, see ``Authenticator``.
    """
    return CORSConfig(list(origins), expose_headers=["ETag", "Retry-After", "X-Edictum-Api", "X-Request-Id"])


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Edictum console",
        version=__version__,
        render_plugins=[Document(path="/openapi.json")],
        openapi_router=Router("/docs", route_handlers=[], guards=[guards.person(Role.ADMIN)], include_in_schema=False),
    )


@attrs.frozen
class _Console:
    """
    What is opened at start and closed at the end.
    """

    database: Database
    redis: Any
    resources: Resources
    pulse: Pulse
    messenger: Messenger
    deliverer: Deliverer
    workers: list[Worker]
    prepare: Prepare | None

    @classmethod
    def build(cls, settings: Settings, hasher: Hasher, prepare: Prepare | None, providers: Providers) -> _Console:
        database = database_of(settings)
        redis = None if settings.redis_url is None else client_of(settings.redis_url)
        resources = resources_of(settings, database, redis, hasher)
        pulse = Pulse(resources.stores.bus)
        outbound = Outbound(Targets(settings.outbound_networks), plaintext=settings.outbound_plaintext)
        messenger = Messenger(outbound, providers, resources.sealer, settings.base_url, settings.secure)
        deliverer = Deliverer(resources.scopes, messenger, resources.metrics)
        workers = workers_of(resources, deliverer, pulse)
        return cls(database, redis, resources, pulse, messenger, deliverer, workers, prepare)

    @asynccontextmanager
    async def running(self, app: Litestar) -> AsyncIterator[None]:
        """
        Connect, bring the schema up to date, and let the first administrator of the settings in.
        """
        settings = self.resources.settings
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.database.close)
            await self.database.open()
            await self.database.claim(alone=self.redis is None)
            await (migrate(self.database) if settings.auto_migrate else check_schema(self.database))
            if self.redis is not None:
                await stack.enter_async_context(self.redis)
                await check_redis(self.redis)
            bus = self.resources.stores.bus
            stack.callback(bus.listen(self.resources.verifier.heed))
            stack.callback(bus.listen(self.deliverer.heed))
            if isinstance(bus, RedisBus):
                await stack.enter_async_context(bus.running())
            if self.prepare is not None:
                await self.prepare(self.resources)
            await self._first_admin(settings)
            await stack.enter_async_context(working(self.workers))
            yield

    async def _first_admin(self, settings: Settings) -> None:
        setup = SetupService(self.resources)
        if await setup.complete():
            return
        if settings.admin_email is not None and settings.admin_password is not None:
            caller = Caller(Anonymous(), "local", "start")
            try:
                await setup.create(settings.admin_email, settings.admin_password, "default", caller)
            except ConflictError:
                return  # another replica was first
            logger.info("made the first administrator of EDICTUM_ADMIN_EMAIL")
        else:
            # Whoever can read this may set the console up, and nobody else.
            logger.warning("nobody is set up yet; open %s/setup#%s", settings.base_url, setup.token())

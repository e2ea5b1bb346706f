"""
Guards: what a route asks of whoever calls it, listed at the route.

A test fails on a route without one, so what is open says so: :func:`anyone`.  All are coroutines: the framework would
run plain functions in a thread, one after the other, for every request.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from edictum_console.errors import ForbiddenError, RateLimitedError, UnauthorizedError
from edictum_console.security.actor import Actor, Anonymous, KeyActor, KeyScope, PersonActor, Role
from edictum_console.settings import Settings
from edictum_console.state.ports import Limit, RateLimits

Connection = ASGIConnection[Any, Actor, str, Any]


async def anyone(connection: Connection, handler: BaseRouteHandler) -> None:
    """
    Let everybody in.
    """


def person(role: Role) -> Guard:
    """
    Let people in who have a role.
    """

    async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        _check_person(connection.user, role)

    return guard


async def login(connection: Connection, handler: BaseRouteHandler) -> None:
    """
    Let people in who signed in, and none of their scripts.
    """
    _check_person(connection.user, Role.VIEWER)
    if isinstance(connection.user, PersonActor) and connection.user.script_id is not None:
        raise ForbiddenError("a script's token may not do this; sign in", "login_only")


def key(scope: KeyScope, limit: Callable[[Settings], Limit] | None = None) -> Guard:
    """
    Let API keys in that have a scope.

    Args:
        scope: The scope.
        limit: Makes of the settings how often each key may call; None for what all routes allow together.  Each guard
            of a route costs the framework a copy of the route, so both are one.
    """

    async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        _check_key(connection.user, (scope,))
        if limit is not None:
            await _take(limit(connection.app.state.settings), connection)

    return guard


def person_or_key(role: Role, *scopes: KeyScope) -> Guard:
    """
    Let people in who have a role, and API keys that have one of some scopes.
    """

    async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        if isinstance(connection.user, KeyActor):
            _check_key(connection.user, scopes)
        else:
            _check_person(connection.user, role)

    return guard


async def metrics_reader(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """
    Let whoever has the token for metrics in, or, where there is none, who is on the same machine.
    """
    token: bytes | None = connection.app.state.metrics_token
    scheme, _, shown = connection.headers.get("authorization", "").partition(" ")
    if token is not None:
        if scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token):
            return
        raise UnauthorizedError("send EDICTUM_METRICS_TOKEN as Authorization: Bearer", "invalid_token")
    # Through a proxy on this machine everybody comes from here, so nobody does.
    proxied = any(name in connection.headers for name in ("x-forwarded-for", "forwarded", "via"))
    if proxied or connection.client is None or not _is_loopback(connection.client.host):
        raise UnauthorizedError("set EDICTUM_METRICS_TOKEN to read metrics from another machine", "token_missing")


def limited(limit: Limit) -> Guard:
    """
    Limit how often each key, person or, where nobody is signed in, address may call.
    """

    async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        await _take(limit, connection)

    return guard


async def _take(limit: Limit, connection: Connection) -> None:
    limits: RateLimits = connection.app.state.limits
    wait = await limits.take(limit, _subject(connection))
    if wait:
        raise RateLimitedError("too many requests; try again later", wait)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _subject(connection: Connection) -> str:
    match connection.user:
        case KeyActor(key_id=key_id):
            return f"key:{key_id}"
        case PersonActor(user_id=user_id):
            return f"user:{user_id}"
        case Anonymous():
            return f"address:{connection.auth}"


def _check_person(actor: Actor, role: Role) -> None:
    match actor:
        case Anonymous():
            raise UnauthorizedError("sign in first", "not_signed_in")
        case KeyActor():
            raise ForbiddenError("this is for people; an API key may not do it", "people_only")
        case PersonActor(role=present):
            if not present.includes(role):
                raise ForbiddenError(f"this needs the role {role}", "role_missing")


def _check_key(actor: Actor, scopes: tuple[KeyScope, ...]) -> None:
    match actor:
        case Anonymous():
            raise UnauthorizedError("an API key is needed: send it as Authorization: Bearer", "key_missing")
        case PersonActor():
            raise ForbiddenError("this is for API keys", "keys_only")
        case KeyActor(scopes=present):
            if not present & set(scopes):
                raise ForbiddenError(f"the API key needs the scope {' or '.join(scopes)}", "scope_missing")

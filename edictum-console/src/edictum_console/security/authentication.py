"""
Finding out who makes a request, before any route is reached.

An API key or a script's token goes before a cookie.  A cookie is sent by a browser whether its user wants to or not, so
whatever changes something and comes with one must also prove that it comes from the console's own pages.
"""

from __future__ import annotations

import hmac
import re
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

import attrs
from litestar.connection import ASGIConnection
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from edictum_console.errors import BadRequestError, ForbiddenError, RateLimitedError, UnauthorizedError
from edictum_console.security.actor import Actor, Anonymous, KeyActor, PersonActor
from edictum_console.security.address import client_address
from edictum_console.security.api_keys import KEY_BEGINS, KeyVerifier
from edictum_console.security.logins import LoginKeeper
from edictum_console.settings import Settings
from edictum_console.state.ports import Limit, RateLimits

# Routes with this option have a credential of their own, which their guard checks.
OWN_CREDENTIAL = "own_credential"

IDENTIFIER = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"

_AGENT_ID = re.compile(IDENTIFIER)
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class People(Protocol):
    """
    Where people are stored.
    """

    async def find(self, tenant_id: UUID, user_id: UUID, token: str) -> PersonActor | None:
        """
        A person who may sign in.
        """


class Scripts(Protocol):
    """
    Where tokens of scripts are stored.
    """

    async def find(self, token: str) -> PersonActor | None:
        """
        The person of a token that counts.
        """


@attrs.frozen
class Authenticator:
    """
    Says who makes a request.

    Attributes:
        settings: The base URL and the proxies that are trusted.
        verifier: Knows API keys.
        logins: Knows logins.
        people: Knows people.
        scripts: Knows tokens of scripts.
        limits: Counts requests.
        by_key: How many requests a key or a token may make.
    """

    settings: Settings
    verifier: KeyVerifier
    logins: LoginKeeper
    people: People
    scripts: Scripts
    limits: RateLimits
    by_key: Limit

    async def authenticate(self, connection: ASGIConnection[Any, Any, Any, Any]) -> tuple[Actor, str]:
        """
        Return who makes a request, and from where.

        Raises:
            UnauthorizedError: A credential was shown and is not good.
            ForbiddenError: It comes from a page of another site, or names an agent that the key is not for.
            RateLimitedError: The key makes too many.
        """
        address = client_address(
            connection.client.host if connection.client else None,
            connection.headers.getall("x-forwarded-for", []),
            self.settings.trusted_proxies,
        )
        authorization = connection.headers.get("authorization")
        if authorization is not None:
            return await self._bearer(connection, authorization, address), address
        token = connection.cookies.get(cookie_name(self.settings))
        login = await self.logins.find(token) if token else None
        if token is None or login is None:
            return Anonymous(), address
        found = await self.people.find(login.tenant_id, login.user_id, token)
        if found is None:
            return Anonymous(), address
        if connection.scope["method"] not in _SAFE_METHODS:  # type: ignore[typeddict-item]
            self._check_origin(connection, token)
        return found, address

    async def _bearer(
        self, connection: ASGIConnection[Any, Any, Any, Any], authorization: str, address: str
    ) -> KeyActor | PersonActor:
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise UnauthorizedError("send an API key as Authorization: Bearer", "invalid_key")
        if credential.count(".") == 2 and not credential.startswith(KEY_BEGINS):
            return await self._script(credential)
        return await self._key(connection, credential, address)

    async def _script(self, token: str) -> PersonActor:
        person = await self.scripts.find(token)
        if person is None:
            raise UnauthorizedError("the token is not known, revoked or over; refresh it or sign in", "invalid_token")
        wait = await self.limits.take(self.by_key, str(person.script_id))
        if wait:
            raise RateLimitedError("this token makes too many requests", wait)
        return person

    async def _key(self, connection: ASGIConnection[Any, Any, Any, Any], key: str, address: str) -> KeyActor:
        record = await self.verifier.verify(key, address)
        agent_id = connection.headers.get("x-edictum-agent-id")
        if agent_id is not None and not _AGENT_ID.fullmatch(agent_id):
            raise BadRequestError(
                "X-Edictum-Agent-Id must begin with a letter or digit, and have letters, digits, '.', '_' and '-' only",
                "invalid_agent_id",
            )
        actor = KeyActor(
            record.tenant_id,
            record.key_id,
            record.prefix,
            record.env,
            record.scopes,
            record.agent_pattern,
            agent_id,
            record.signing_key_id,
        )
        if agent_id is not None and not actor.may_be(agent_id):
            raise ForbiddenError("the API key is for other agents", "agent_mismatch")
        wait = await self.limits.take(self.by_key, str(record.key_id))
        if wait:
            raise RateLimitedError("this API key makes too many requests", wait)
        return actor

    def _check_origin(self, connection: ASGIConnection[Any, Any, Any, Any], token: str) -> None:
        headers = connection.headers
        base = urlsplit(self.settings.base_url)
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        foreign = origin is not None and origin != f"{base.scheme}://{base.netloc}"
        if foreign or site not in (None, "same-origin", "none"):
            raise ForbiddenError("the request comes from another site", "foreign_origin")
        shown = headers.get("x-csrf-token")
        if shown is not None:
            proved = hmac.compare_digest(shown.encode(), self.logins.csrf_token(token).encode())
        else:
            proved = bool(headers.get("x-requested-with"))  # a page of another site cannot send it either
        if not proved:
            raise ForbiddenError("send the csrf_token of /auth/me as X-CSRF-Token", "csrf_token_missing")


class AuthenticationMiddleware(ASGIMiddleware):
    """
    Puts who makes a request into its scope, for guards and handlers.
    """

    exclude_opt_key = OWN_CREDENTIAL

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """
        Find out who asks, and go on.
        """
        scope["user"], scope["auth"] = await self._authenticator.authenticate(ASGIConnection(scope))
        await next_app(scope, receive, send)


def cookie_name(settings: Settings) -> str:
    """
    The name of the cookie with the login; over HTTPS, browsers bind this spelling to the host.
    """
    return "__Host-edictum_session" if settings.secure else "edictum_session"

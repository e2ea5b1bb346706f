"""
Routes of tokens for scripts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from litestar import Controller, Request, delete, get, post
from litestar.di import Provide
from litestar.params import FromPath, JSONBody

from edictum_console.db.scope import TenantScope
from edictum_console.domains.accounts.schemas import Credentials
from edictum_console.domains.accounts.service import LoginService, StoredPeople
from edictum_console.domains.tokens.schemas import NewToken, Refresh, ScriptTokens, TokenPair
from edictum_console.domains.tokens.service import StoredTokens, TokenService
from edictum_console.errors import ForbiddenError, UnauthorizedError
from edictum_console.http.bodies import Done
from edictum_console.http.parameters import Injected
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import Actor, KeyActor, PersonActor
from edictum_console.security.script_tokens import TokenSigner
from edictum_console.state.ports import Limit

REFRESHES = Limit("token-refresh", 60, timedelta(minutes=1))


def provide_service(scope_of_caller: Injected[TenantScope], resources: Injected[Resources]) -> TokenService:
    """
    Make the service for the tenant of the caller.
    """
    return TokenService(scope_of_caller, TokenSigner(resources.settings.secret_key))


class TokenController(Controller):
    """
    Getting tokens.
    """

    path = "/auth/token"
    tags = ("accounts",)

    @post(guards=[guards.anyone], summary="Make a token for scripts")
    async def issue(
        self,
        resources: Injected[Resources],
        request: Request[Actor, str, Any],
        caller: Injected[Caller],
        data: JSONBody[NewToken],
    ) -> TokenPair:
        """
        Make a token for who is signed in, or for whose address and password are given.
        """
        person = request.user
        if data.email is not None and data.password is not None:
            person = await LoginService(resources).check(Credentials(data.email, data.password), caller)
            caller = Caller(person, caller.address, caller.request_id)
        elif isinstance(person, KeyActor) or (isinstance(person, PersonActor) and person.script_id is not None):
            raise ForbiddenError("a key or token cannot make tokens; sign in", "login_only")
        if not isinstance(person, PersonActor):
            raise UnauthorizedError("sign in first, or give email and password", "not_signed_in")
        service = TokenService(resources.scopes.of(person.tenant_id), TokenSigner(resources.settings.secret_key))
        return await service.issue(person, data, caller)

    @post("/refresh", guards=[guards.anyone, guards.limited(REFRESHES)], summary="Replace a token by the next one")
    async def refresh(self, resources: Injected[Resources], data: JSONBody[Refresh]) -> TokenPair:
        """
        Get the next pair; shown a second time, a refresh token ends the token.
        """
        signer = TokenSigner(resources.settings.secret_key)
        return await StoredTokens(resources.scopes, signer, StoredPeople(resources.scopes)).refresh(data.refresh_token)


class OwnTokenController(Controller):
    """
    The own tokens.
    """

    path = "/auth/tokens"
    tags = ("accounts",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.login], summary="List the own tokens for scripts")
    async def list_tokens(
        self, service: Injected[TokenService], request: Request[PersonActor, str, Any]
    ) -> ScriptTokens:
        """
        List the own tokens that may still be used, newest first.
        """
        return await service.all(request.user)

    @delete("/{token_id:uuid}", guards=[guards.login], status_code=200, summary="Revoke a token for scripts")
    async def revoke(
        self,
        service: Injected[TokenService],
        request: Request[PersonActor, str, Any],
        caller: Injected[Caller],
        token_id: FromPath[UUID],
    ) -> Done:
        """
        End one of the own tokens, at once.
        """
        await service.revoke(token_id, request.user, caller)
        return Done()

"""
Routes of API keys.
"""

from __future__ import annotations

from uuid import UUID

from litestar import Controller, delete, get, patch, post
from litestar.di import Provide
from litestar.params import FromPath, JSONBody

from edictum_console.db.scope import TenantScope
from edictum_console.domains.keys.schemas import ApiKey, ApiKeys, CreatedKey, KeyChange, NewKey, Rotation
from edictum_console.domains.keys.service import KeyService
from edictum_console.domains.signing.service import SigningService
from edictum_console.http.bodies import Done
from edictum_console.http.parameters import Cursor, Injected, Limit
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import Role


def provide_service(scope_of_caller: Injected[TenantScope], resources: Injected[Resources]) -> KeyService:
    """
    Make the service for the tenant of the caller.
    """
    return KeyService(scope_of_caller, resources.hasher, resources.stores.bus)


def provide_signing(scope_of_caller: Injected[TenantScope], resources: Injected[Resources]) -> SigningService:
    """
    Make the service of signing keys, which API keys may be bound to.
    """
    return SigningService(scope_of_caller, resources.sealer)


class KeyController(Controller):
    """
    API keys.
    """

    path = "/keys"
    tags = ("keys",)
    dependencies = {  # noqa: RUF012
        "service": Provide(provide_service, sync_to_thread=False),
        "signing": Provide(provide_signing, sync_to_thread=False),
    }

    @get(guards=[guards.person(Role.OPERATOR)], summary="List API keys")
    async def list_keys(self, service: Injected[KeyService], cursor: Cursor = None, limit: Limit = 100) -> ApiKeys:
        """
        List API keys without their secret parts, newest first.
        """
        return await service.page(cursor, limit)

    @post(guards=[guards.person(Role.ADMIN)], summary="Make an API key")
    async def create(
        self, service: Injected[KeyService], caller: Injected[Caller], data: JSONBody[NewKey]
    ) -> CreatedKey:
        """
        Make an API key; the answer is the only place where it is shown.
        """
        return await service.create(data, caller)

    @patch("/{key_id:uuid}", guards=[guards.person(Role.ADMIN)], summary="Change an API key")
    async def change(
        self,
        service: Injected[KeyService],
        signing: Injected[SigningService],
        caller: Injected[Caller],
        key_id: FromPath[UUID],
        data: JSONBody[KeyChange],
    ) -> ApiKey:
        """
        Change what a key is called, and which signing key its agents verify with.
        """

        async def signs(signing_key_id: str) -> bool:
            return await signing.bound(signing_key_id) is not None

        return await service.change(key_id, data, caller, signs)

    @delete("/{key_id:uuid}", guards=[guards.person(Role.ADMIN)], status_code=200, summary="Revoke an API key")
    async def revoke(self, service: Injected[KeyService], caller: Injected[Caller], key_id: FromPath[UUID]) -> Done:
        """
        End an API key at once, with all its streams.
        """
        await service.revoke(key_id, caller)
        return Done()

    @post("/{key_id:uuid}/rotate", guards=[guards.person(Role.ADMIN)], summary="Replace an API key")
    async def rotate(
        self,
        service: Injected[KeyService],
        caller: Injected[Caller],
        key_id: FromPath[UUID],
        data: JSONBody[Rotation],
    ) -> CreatedKey:
        """
        Make a new key like this one, which goes on working for a while.
        """
        return await service.rotate(key_id, data, caller)

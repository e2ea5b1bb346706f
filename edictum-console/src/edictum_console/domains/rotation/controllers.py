"""
Routes of replacing the signing key.
"""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.di import Provide
from litestar.params import JSONBody

from edictum_console.db.scope import TenantScope
from edictum_console.domains.rotation.schemas import KeyRotation, RotationDone, SigningKeyUses
from edictum_console.domains.rotation.service import RotationService
from edictum_console.http.parameters import Injected
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import Role


def provide_service(scope_of_caller: Injected[TenantScope], resources: Injected[Resources]) -> RotationService:
    """
    Make the service for the tenant of the caller.
    """
    return RotationService(scope_of_caller, resources)


class SigningKeyController(Controller):
    """
    Keys that sign rulesets, and who needs them, for people.
    """

    path = "/settings/signing-keys"
    tags = ("signing",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.person(Role.VIEWER)], summary="List signing keys")
    async def list_keys(self, service: Injected[RotationService]) -> SigningKeyUses:
        """
        List signing keys, newest first, each with the API keys that are bound to it.
        """
        return await service.uses()


class RotationController(Controller):
    """
    Replacing the signing key.
    """

    path = "/settings/rotate-signing-key"
    tags = ("signing",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @post(guards=[guards.person(Role.ADMIN)], summary="Replace the signing key")
    async def rotate(
        self, service: Injected[RotationService], caller: Injected[Caller], data: JSONBody[KeyRotation]
    ) -> RotationDone:
        """
        Let a new key sign; the old one goes on for a while for agents that know no other.
        """
        return await service.rotate(data, caller)

"""
The route of signing keys, for agents.
"""

from __future__ import annotations

from litestar import Controller, get
from litestar.di import Provide

from edictum_console.db.scope import TenantScope
from edictum_console.domains.signing.schemas import SigningKeys
from edictum_console.domains.signing.service import SigningService
from edictum_console.http.parameters import Injected
from edictum_console.resources import Resources
from edictum_console.security import guards
from edictum_console.security.actor import KeyScope


def provide_service(scope_of_caller: Injected[TenantScope], resources: Injected[Resources]) -> SigningService:
    """
    Make the service for the tenant of the caller.
    """
    return SigningService(scope_of_caller, resources.sealer)


class TrustedKeyController(Controller):
    """
    Keys that sign rulesets, for agents.
    """

    path = "/signing-keys"
    tags = ("signing",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.key(KeyScope.AGENT)], summary="List the keys that rulesets are signed with")
    async def list_keys(self, service: Injected[SigningService]) -> SigningKeys:
        """
        List the keys that rulesets are signed with, newest first.
        """
        return await service.all()

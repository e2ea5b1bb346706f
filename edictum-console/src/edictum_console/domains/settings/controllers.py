"""
Routes of settings.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, patch
from litestar.di import Provide
from litestar.params import JSONBody, QueryParameter

from edictum_console.db.scope import TenantScope
from edictum_console.domains.accounts.service import LoginService
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.events.upkeep import purge
from edictum_console.domains.settings.schemas import Confirmation, Purged, SettingsChange, TenantSettings
from edictum_console.domains.settings.service import SettingsService
from edictum_console.errors import NotFoundError
from edictum_console.http.parameters import Injected
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import PersonActor, Role

_CONTACT_HOLDS = timedelta(days=180)


def provide_service(scope_of_caller: Injected[TenantScope]) -> SettingsService:
    """
    Make the service for the tenant of the caller.
    """
    return SettingsService(scope_of_caller)


class SettingsController(Controller):
    """
    A tenant's settings.
    """

    path = "/settings"
    tags = ("settings",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.person(Role.VIEWER)], summary="Show the tenant's settings")
    async def show(self, service: Injected[SettingsService]) -> TenantSettings:
        """
        Show what the tenant decided for itself.
        """
        return await service.read()

    @delete(
        "/purge-events",
        guards=[guards.person(Role.ADMIN)],
        status_code=200,
        summary="Remove old events",
    )
    async def purge(
        self,
        resources: Injected[Resources],
        scope_of_caller: Injected[TenantScope],
        request: Request[PersonActor, str, Any],
        caller: Injected[Caller],
        older_than_days: Annotated[int, QueryParameter(ge=1, le=3650, description="What is younger stays.")],
        data: JSONBody[Confirmation],
    ) -> Purged:
        """
        Remove all events that are older, in all environments, for ever; the password is asked for once more.
        """
        await LoginService(resources).confirm(request.user, data.password)
        async with scope_of_caller.transaction():
            # Before, so that nothing is removed without a word.
            await AuditService(scope_of_caller).record(caller, "events.purge", "", {"older_than_days": older_than_days})
        return Purged(*await purge(scope_of_caller, older_than_days))

    @patch(guards=[guards.person(Role.ADMIN)], summary="Change the tenant's settings")
    async def change(
        self, service: Injected[SettingsService], caller: Injected[Caller], data: JSONBody[SettingsChange]
    ) -> TenantSettings:
        """
        Change what is named, and nothing else.
        """
        return await service.change(data, caller)


class ContactController(Controller):
    """
    Whom to tell of a weakness of the console.
    """

    path = "/.well-known/security.txt"
    tags = ("settings",)

    @get(guards=[guards.anyone], media_type="text/plain", summary="Say whom to tell of a weakness")
    async def contact(self, resources: Injected[Resources]) -> Response[str]:
        """
        Name the contact of EDICTUM_SECURITY_CONTACT, in the form of RFC 9116; 404 if there is none.
        """
        settings = resources.settings
        if settings.security_contact is None:
            raise NotFoundError("there is nothing here")
        expires = (datetime.now(UTC) + _CONTACT_HOLDS).replace(hour=0, minute=0, second=0, microsecond=0)
        lines = [
            f"Contact: {settings.security_contact}",
            f"Expires: {expires.isoformat().replace('+00:00', 'Z')}",
            f"Canonical: {settings.base_url}/.well-known/security.txt",
            "Preferred-Languages: en",
        ]
        return Response("".join(f"{line}\n" for line in lines), media_type="text/plain")

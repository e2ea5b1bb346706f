"""
Routes of the administrators' log.
"""

from __future__ import annotations

from litestar import Controller, get
from litestar.di import Provide

from edictum_console.db.scope import TenantScope
from edictum_console.domains.audit.schemas import AuditPage, ChainCheck
from edictum_console.domains.audit.service import AuditService
from edictum_console.http.parameters import Cursor, Injected, Limit
from edictum_console.security import guards
from edictum_console.security.actor import Role


def provide_service(scope_of_caller: Injected[TenantScope]) -> AuditService:
    """
    Make the service for the tenant of the caller.
    """
    return AuditService(scope_of_caller)


class AuditController(Controller):
    """
    The administrators' log.
    """

    path = "/audit-log"
    tags = ("audit",)
    dependencies = {"service": Provide(provide_service, sync_to_thread=False)}  # noqa: RUF012

    @get(guards=[guards.person(Role.ADMIN)], summary="List what administrators did, newest first")
    async def list_entries(
        self, service: Injected[AuditService], cursor: Cursor = None, limit: Limit = 100
    ) -> AuditPage:
        """
        List what administrators did.
        """
        return await service.page(cursor, limit)

    @get("/check", guards=[guards.person(Role.ADMIN)], summary="Check that the log is as it was written")
    async def check(self, service: Injected[AuditService]) -> ChainCheck:
        """
        Compute the chain of hashes again.
        """
        return await service.check()

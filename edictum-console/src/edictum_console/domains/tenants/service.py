"""
The first administrator: from the settings, or by a link that the console prints.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from edictum_console.domains.accounts.service import add_person, anybody
from edictum_console.domains.environments.service import EnvironmentService
from edictum_console.domains.signing.service import SigningService
from edictum_console.domains.tenants.repository import TenantRepository
from edictum_console.domains.tenants.schemas import Readiness, Setup, SetupDone
from edictum_console.errors import ConflictError, ForbiddenError, UnavailableError
from edictum_console.ids import new_id
from edictum_console.resources import Caller, Resources
from edictum_console.security.actor import Role
from edictum_console.state.ports import Limit

ATTEMPTS = Limit("setup", 3, timedelta(minutes=1), strict=True)


class SetupService:
    """
    Makes the first tenant and its administrator, once.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._database = resources.scopes.database

    async def complete(self) -> bool:
        """
        Whether there is anybody.
        """
        return await anybody(self._database)

    async def readiness(self, late: Sequence[str]) -> Readiness:
        """
        Ask everything that requests need.

        Args:
            late: Workers that have not succeeded for too long.
        """
        parts = {"workers": f"late: {', '.join(late)}" if late else "ok"}
        for name, ping in (("database", self._database.ping), ("state", self._resources.stores.ping)):
            try:
                await ping()
                parts[name] = "ok"
            except UnavailableError as error:
                parts[name] = error.detail
        return Readiness("ok" if set(parts.values()) == {"ok"} else "unavailable", parts)

    def token(self) -> str:
        """
        What proves that somebody can read the console's output; the same for all replicas, worthless after set-up.
        """
        return hmac.new(self._resources.settings.secret_key, b"setup", hashlib.sha256).hexdigest()

    async def by_token(self, setup: Setup, caller: Caller) -> SetupDone:
        """
        Set the console up for whoever has the token.

        Raises:
            ForbiddenError: The token is wrong.
            ConflictError: It is set up already.
        """
        if await self.complete():
            raise _done()
        if not hmac.compare_digest(setup.token.encode(), self.token().encode()):
            raise ForbiddenError("the token is not the one that the console printed when it started", "wrong_token")
        return await self.create(setup.email, setup.password, setup.tenant_name, caller)

    async def create(
        self, email: str, password: str, tenant_name: str, caller: Caller, marks: Mapping[str, bool] | None = None
    ) -> SetupDone:
        """
        Make a tenant with one administrator.

        Args:
            email: The administrator's address.
            password: Their password.
            tenant_name: What the tenant is called.
            caller: Who does it.
            marks: Words about the tenant; see :meth:`marks`.

        Raises:
            ConflictError: There is somebody already.
        """
        password_hash = await self._resources.hasher.hash(password)
        tenant_id = new_id()
        scope = self._resources.scopes.of(tenant_id)
        async with scope.transaction():
            await self._database.lock("setup")
            if await self.complete():
                raise _done()
            await TenantRepository(self._database).add(tenant_id, tenant_name, marks)
            await EnvironmentService(scope).add_first()
            await SigningService(scope, self._resources.sealer).add_first()
            row = await add_person(scope, email.lower(), password_hash, Role.ADMIN, caller)
        return SetupDone(tenant_id, row["id"])

    async def tenants(self) -> dict[UUID, str]:
        """
        Return what each tenant is called, by name.
        """
        return await TenantRepository(self._database).names()

    async def mark(self, tenant_id: UUID, name: str) -> None:
        """
        Make a word about a tenant true.
        """
        tenants = TenantRepository(self._database)
        async with self._resources.scopes.of(tenant_id).transaction():
            await self._database.lock(f"settings:{tenant_id}")
            settings = (await tenants.settings())[tenant_id]
            await tenants.change(tenant_id, {**settings, name: True})

    async def marks(self, name: str) -> dict[UUID, bool]:
        """
        Return the tenants about which there is a word, and whether it is true by now.
        """
        settings = await TenantRepository(self._database).settings()
        return {tenant_id: found[name] for tenant_id, found in settings.items() if isinstance(found.get(name), bool)}

    async def remove(self, tenant_id: UUID) -> None:
        """
        Remove a tenant with everything that it has, as if nobody had ever been there.
        """
        async with self._resources.scopes.of(tenant_id).transaction():
            await TenantRepository(self._database).remove(tenant_id)


def _done() -> ConflictError:
    return ConflictError("the console is set up already; sign in", "already_set_up")

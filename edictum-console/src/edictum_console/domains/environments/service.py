"""
Adding, changing and removing environments.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from edictum_console.db.scope import TenantScope
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.environments.repository import EnvironmentRepository
from edictum_console.domains.environments.schemas import (
    Environment,
    EnvironmentChange,
    Environments,
    NewEnvironment,
    UnmappedUsers,
)
from edictum_console.errors import ConflictError, ForbiddenError, NotFoundError
from edictum_console.resources import Caller
from edictum_console.security.actor import CommandActor, PersonActor, Role

FIRST = ("development", "staging", "production")


class EnvironmentService:
    """
    The environments of one tenant.
    """

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._rows = EnvironmentRepository(scope)
        self._audit = AuditService(scope)

    async def all(self) -> Environments:
        """
        Return all of them.
        """
        return Environments([_environment(row) for row in await self._rows.all()])

    async def exists(self, name: str) -> bool:
        """
        Whether there is one of that name.
        """
        return await self._rows.find(name) is not None

    async def require(self, name: str) -> Environment:
        """
        Return one.

        Raises:
            NotFoundError: There is none of that name.
        """
        row = await self._rows.find(name)
        if row is None:
            raise NotFoundError(f"there is no environment '{name}'", "environment_not_found")
        return _environment(row)

    async def require_open_to(self, name: str, caller: Caller) -> None:
        """
        Make sure that a caller may change what agents of an environment run.

        Raises:
            NotFoundError: There is none of that name.
            ForbiddenError: It is protected, and the caller is no administrator.
        """
        environment = await self.require(name)
        actor = caller.actor
        admin = isinstance(actor, CommandActor) or (isinstance(actor, PersonActor) and actor.role is Role.ADMIN)
        if environment.protected and not admin:
            raise ForbiddenError(f"the environment '{name}' is protected; only an administrator may", "protected")

    async def add_first(self) -> None:
        """
        Add those that a new tenant begins with, in the transaction that makes it.
        """
        for name in FIRST:
            await self._rows.add({"name": name, "colour": "", "protected": False, "event_retention_days": None})

    async def add(self, new: NewEnvironment, caller: Caller) -> Environment:
        """
        Add one.

        Raises:
            ConflictError: There is one of that name.
        """
        async with self._scope.transaction():
            await self.lock()
            if await self._rows.find(new.name) is not None:
                raise ConflictError(f"there is an environment '{new.name}' already", "environment_exists")
            await self._rows.add(attrs.asdict(new))
            await self._audit.record(caller, "environment.add", new.name)
            return await self.require(new.name)

    async def change(self, name: str, change: EnvironmentChange, caller: Caller) -> Environment:
        """
        Change one.

        Raises:
            NotFoundError: There is none of that name.
        """
        values: dict[str, Any] = {key: value for key, value in attrs.asdict(change).items() if value is not None}
        if values.get("event_retention_days") == 0:
            values["event_retention_days"] = None
        async with self._scope.transaction():
            await self.lock()
            await self.require(name)
            if values:
                await self._rows.change(name, values)
                await self._audit.record(caller, "environment.change", name, values)
            return await self.require(name)

    async def lock(self) -> None:
        """
        Keep environments as they are until the end of the transaction.
        """
        await self._scope.database.lock(f"environments:{self._scope.tenant_id}")

    async def delete(self, name: str, caller: Caller, in_use: Callable[[str], Awaitable[bool]]) -> None:
        """
        Remove one that nothing uses.

        Args:
            name: Which one.
            caller: Who does it.
            in_use: Says whether it is used; asked while nobody can begin to.

        Raises:
            NotFoundError: There is none of that name.
            ConflictError: It is used.
        """
        async with self._scope.transaction():
            await self.lock()
            await self.require(name)
            if await in_use(name):
                raise ConflictError("API keys are for this environment; revoke them first", "environment_in_use")
            await self._rows.delete(name)
            await self._audit.record(caller, "environment.delete", name)


def _environment(row: dict[str, Any]) -> Environment:
    values = {field.name: row[field.name] for field in attrs.fields(Environment)}
    return Environment(**{**values, "unmapped_users": UnmappedUsers(row["unmapped_users"])})

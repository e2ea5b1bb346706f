"""
What a command works with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs

from edictum_console.app import resources_of
from edictum_console.db.migrations import check_schema
from edictum_console.db.opening import database_of
from edictum_console.db.scope import TenantScope
from edictum_console.domains.tenants.service import SetupService
from edictum_console.errors import CommandError
from edictum_console.resources import Caller, Resources
from edictum_console.security.actor import CommandActor
from edictum_console.security.passwords import Hasher
from edictum_console.security.sealing import SealBrokenError
from edictum_console.settings import Settings
from edictum_console.state.redis import client_of


@attrs.frozen
class Opened:
    """
    A console's database, and who works on it.

    Attributes:
        resources: What services need.
        caller: The command line, for records of what was done.
    """

    resources: Resources
    caller: Caller

    async def scope(self, tenant: str | None) -> TenantScope:
        """
        The scope of a tenant.

        Args:
            tenant: Its name or its id; None for the only one.

        Raises:
            CommandError: There is none, or it is not clear which.
        """
        names = await SetupService(self.resources).tenants()
        if not names:
            raise CommandError("nobody is set up yet; begin with: edictum-console admin create EMAIL")
        found = [key for key, name in names.items() if tenant is None or tenant in (name, str(key))]
        if len(found) == 1:
            return self.resources.scopes.of(found[0])
        if tenant is None:
            raise CommandError(f"there are several tenants; name one by --tenant: {', '.join(names.values())}")
        if not found:
            raise CommandError(f"there is no tenant '{tenant}'; there is: {', '.join(names.values())}")
        raise CommandError(f"several tenants are called '{tenant}'; name one by its id: {', '.join(map(str, found))}")


@asynccontextmanager
async def opened(settings: Settings, command: str) -> AsyncIterator[Opened]:
    """
    Open what a command works with, beside a console that may be running.

    Args:
        settings: Those of the console.
        command: Which command it is, for records.

    Raises:
        StartError: The database cannot be used, or has not the schema of this version.
        CommandError: The secrets of the settings do not open what is sealed.
    """
    database = database_of(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        await database.join()
        await check_schema(database)
        # It connects when something is told to other processes or counted, and what is only told may be lost.
        redis = None if settings.redis_url is None else client_of(settings.redis_url)
        if redis is not None:
            await stack.enter_async_context(redis)
        resources = resources_of(settings, database, redis, Hasher())
        try:
            yield Opened(resources, Caller(CommandActor(), "local", command))
        except SealBrokenError as error:
            raise CommandError(str(error)) from error

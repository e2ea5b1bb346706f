"""
Looking whether a console can run as things are; changes nothing.
"""

from __future__ import annotations

from typing import Any

import attrs

from edictum_console.app import resources_of
from edictum_console.db.database import Database
from edictum_console.db.migrations import check_schema, migrations
from edictum_console.db.opening import database_of
from edictum_console.domains.signing.service import SigningService
from edictum_console.domains.tenants.service import SetupService
from edictum_console.errors import StartError, UnavailableError
from edictum_console.resources import Resources
from edictum_console.security.passwords import Hasher
from edictum_console.security.sealing import SealBrokenError
from edictum_console.settings import Settings
from edictum_console.state.redis import EVICTS, client_of, may_evict


@attrs.frozen
class Finding:
    """
    How a part of the console is.

    Attributes:
        part: Which part.
        well: Whether it can be used.
        text: What there is to say: of a part that cannot be used the problem and the remedy.
    """

    part: str
    well: bool
    text: str


async def look(settings: Settings) -> list[Finding]:
    """
    Look at everything that the settings name.
    """
    database = database_of(settings)
    redis = None if settings.redis_url is None else client_of(settings.redis_url)
    try:
        found = [await _database(database)]
        if redis is not None:
            async with redis:
                found.append(await _redis(redis))
        if found[0].well:
            found.append(await _secrets(resources_of(settings, database, redis, Hasher())))
        return found
    finally:
        await database.close()


async def _database(database: Database) -> Finding:
    try:
        await database.join()
        await check_schema(database)
    except StartError as error:
        return Finding("database", False, str(error))
    except UnavailableError as error:
        return Finding("database", False, error.detail)
    newest = migrations(database.dialect)[-1].version
    return Finding("database", True, f"{database.dialect}, schema {newest}")


async def _redis(redis: Any) -> Finding:
    try:
        evicts = await may_evict(redis)
    except StartError as error:
        return Finding("redis", False, str(error))
    return Finding("redis", not evicts, EVICTS if evicts else "evicts nothing")


async def _secrets(resources: Resources) -> Finding:
    try:
        tenants = await SetupService(resources).tenants()
        for tenant_id in tenants:
            await SigningService(resources.scopes.of(tenant_id), resources.sealer).check_sealed()
    except (SealBrokenError, UnavailableError) as error:
        return Finding("secrets", False, str(error))
    return Finding("secrets", True, "they open the signing keys" if tenants else "nothing is sealed yet")

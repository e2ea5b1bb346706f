"""
Queries of tenants' settings.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from edictum_console.db.scope import SystemRepository
from edictum_console.db.tables import Tenants


class TenantSettingsRepository(SystemRepository):
    """
    The rows of tenants, which have no tenant beside their id.
    """

    async def find(self, tenant_id: UUID) -> dict[str, Any]:
        """
        The name and the settings of a tenant that is there.
        """
        table = self._table(Tenants)
        (row,) = await table.select(table.name, table.settings).where(table.id == tenant_id)
        return dict(row)

    async def all(self) -> list[dict[str, Any]]:
        """
        The id, the name and the settings of all tenants.
        """
        table = self._table(Tenants)
        return list(await table.select(table.id, table.name, table.settings))

    async def change(self, tenant_id: UUID, name: str, settings: str) -> None:
        """
        Change them.
        """
        table = self._table(Tenants)
        await table.update({table.name: name, table.settings: settings}).where(table.id == tenant_id)

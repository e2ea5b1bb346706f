"""
Queries of tenants.
"""

from __future__ import annotations

from uuid import UUID

from edictum_console.db.scope import SystemRepository
from edictum_console.db.tables import Tenants


class TenantRepository(SystemRepository):
    """
    All tenants.
    """

    async def add(self, tenant_id: UUID, name: str) -> None:
        """
        Add one.
        """
        table = self._table(Tenants)
        await table.insert(table(id=tenant_id, name=name))

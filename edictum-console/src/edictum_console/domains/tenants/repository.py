"""
Queries of tenants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from edictum_console.db.scope import SystemRepository
from edictum_console.db.tables import ALL_TABLES, Tenants, TenantTable


class TenantRepository(SystemRepository):
    """
    All tenants.
    """

    async def add(self, tenant_id: UUID, name: str, settings: Mapping[str, Any] | None = None) -> None:
        """
        Add one.
        """
        table = self._table(Tenants)
        await table.insert(table(id=tenant_id, name=name, settings=json.dumps(settings or {})))

    async def remove(self, tenant_id: UUID) -> None:
        """
        Remove one with everything that it has.
        """
        for table in reversed(ALL_TABLES):  # what refers to others comes after them
            if issubclass(table, TenantTable):
                bound = self._table(table)
                await bound.delete().where(bound.tenant_id == tenant_id)
        tenants = self._table(Tenants)
        await tenants.delete().where(tenants.id == tenant_id)

    async def names(self) -> dict[UUID, str]:
        """
        What each is called.
        """
        table = self._table(Tenants)
        return {row["id"]: row["name"] for row in await table.select(table.id, table.name).order_by(table.name)}

    async def settings(self) -> dict[UUID, dict[str, Any]]:
        """
        What each is marked with, and what was decided for it.
        """
        table = self._table(Tenants)
        return {row["id"]: json.loads(row["settings"]) for row in await table.select(table.id, table.settings)}

    async def change(self, tenant_id: UUID, settings: Mapping[str, Any]) -> None:
        """
        Replace the settings of one.
        """
        table = self._table(Tenants)
        await table.update({"settings": json.dumps(settings)}).where(table.id == tenant_id)

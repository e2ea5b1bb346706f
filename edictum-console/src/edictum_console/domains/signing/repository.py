"""
Queries of signing keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from edictum_console.db import tables
from edictum_console.db.scope import Repository, SystemRepository


class SigningKeyRepository(Repository):
    """
    The signing keys of one tenant.
    """

    async def all(self) -> list[dict[str, Any]]:
        """
        All of them, newest first.
        """
        table = self._table(tables.SigningKeys)
        return list(await self._select(table).order_by(table.id, ascending=False))

    async def active(self) -> dict[str, Any] | None:
        """
        The one that signs.
        """
        table = self._table(tables.SigningKeys)
        rows = await self._select(table).where(table.state == "active")
        return rows[0] if rows else None

    async def change(self, key_id: str, values: Mapping[str, Any]) -> None:
        """
        Change one.
        """
        table = self._table(tables.SigningKeys)
        await self._update(table, values).where(table.key_id == key_id)

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add one.
        """
        await self._insert(self._table(tables.SigningKeys), values)


class Overlaps(SystemRepository):
    """
    Keys that were replaced, of all tenants.
    """

    async def end(self, now: datetime) -> None:
        """
        Revoke those whose time is over.
        """
        table = self._table(tables.SigningKeys)
        await table.update({"state": "revoked"}).where(table.state == "retiring").where(table.retires_at <= now)

"""
Queries of environments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edictum_console.db import tables
from edictum_console.db.scope import Repository


class EnvironmentRepository(Repository):
    """
    The environments of one tenant.
    """

    async def all(self) -> list[dict[str, Any]]:
        """
        All of them, by name.
        """
        table = self._table(tables.Environments)
        return list(await self._select(table).order_by(table.name))

    async def find(self, name: str) -> dict[str, Any] | None:
        """
        One of them.
        """
        table = self._table(tables.Environments)
        rows = await self._select(table).where(table.name == name)
        return rows[0] if rows else None

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add one.
        """
        await self._insert(self._table(tables.Environments), values)

    async def change(self, name: str, values: Mapping[str, Any]) -> None:
        """
        Change one.
        """
        table = self._table(tables.Environments)
        await self._update(table, values).where(table.name == name)

    async def delete(self, name: str) -> None:
        """
        Remove one.
        """
        table = self._table(tables.Environments)
        await self._delete(table).where(table.name == name)

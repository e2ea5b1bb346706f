"""
Queries of the library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edictum_console.db import tables
from edictum_console.db.scope import Repository


class ContractRepository(Repository):
    """
    The contracts of one tenant.
    """

    async def newest(self, kind: str | None) -> list[dict[str, Any]]:
        """
        The newest version of each, by id, without the rule.
        """
        table = self._table(tables.Contracts)
        columns = [column for column in table._meta.columns if column is not table.definition]
        query = self._select(table, *columns).where(table.is_latest.eq(True)).order_by(table.contract_id)
        return list(await (query if kind is None else query.where(table.type == kind)))

    async def number(self) -> int:
        """
        How many there are.
        """
        table = self._table(tables.Contracts)
        found: int = await self._count(table).where(table.is_latest.eq(True))
        return found

    async def versions(self, contract_id: str) -> list[dict[str, Any]]:
        """
        All versions of one, newest first, without the rule.
        """
        table = self._table(tables.Contracts)
        columns = [column for column in table._meta.columns if column is not table.definition]
        query = self._select(table, *columns).where(table.contract_id == contract_id)
        return list(await query.order_by(table.version, ascending=False))

    async def find(self, contract_id: str, version: int | None) -> dict[str, Any] | None:
        """
        One version, or the newest.
        """
        table = self._table(tables.Contracts)
        query = self._select(table).where(table.contract_id == contract_id)
        rows = await query.where(table.is_latest.eq(True) if version is None else table.version == version)
        return rows[0] if rows else None

    async def some(self, contract_ids: Sequence[str], versions: Sequence[int]) -> list[dict[str, Any]]:
        """
        The newest versions of some, and those with one of some numbers.
        """
        if not contract_ids:
            return []
        table = self._table(tables.Contracts)
        chosen = table.is_latest.eq(True)
        query = self._select(table).where(table.contract_id.is_in(list(contract_ids)))
        return list(await query.where(chosen | table.version.is_in(list(versions)) if versions else chosen))

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add a version, which is the newest from now on.
        """
        table = self._table(tables.Contracts)
        query = self._update(table, {"is_latest": False}).where(table.contract_id == values["contract_id"])
        await query.where(table.is_latest.eq(True))
        await self._insert(table, {**values, "is_latest": True})

    async def delete(self, contract_id: str) -> None:
        """
        Remove all versions of one.
        """
        table = self._table(tables.Contracts)
        await self._delete(table).where(table.contract_id == contract_id)

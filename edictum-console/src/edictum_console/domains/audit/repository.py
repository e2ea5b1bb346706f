"""
Queries of the administrators' log.
"""

from __future__ import annotations

from typing import Any

from edictum_console.db.scope import Repository
from edictum_console.db.tables import AdminAudit


class AuditRepository(Repository):
    """
    The log of one tenant.
    """

    async def newest(self) -> tuple[int, str]:
        """
        The number and the hash of the last row; those before the first row if there is none.
        """
        table = self._table(AdminAudit)
        rows = await self._select(table, table.seq, table.hash).order_by(table.seq, ascending=False).limit(1)
        return (rows[0]["seq"], rows[0]["hash"]) if rows else (0, "0" * 64)

    async def add(self, row: dict[str, Any]) -> None:
        """
        Append a row.
        """
        await self._insert(self._table(AdminAudit), row)

    async def page(self, before: int | None, limit: int) -> list[dict[str, Any]]:
        """
        Rows below a number, newest first.
        """
        table = self._table(AdminAudit)
        query = self._select(table).order_by(table.seq, ascending=False).limit(limit)
        return list(await (query if before is None else query.where(table.seq < before)))

    async def after(self, seq: int, limit: int) -> list[dict[str, Any]]:
        """
        Rows above a number, oldest first.
        """
        table = self._table(AdminAudit)
        return list(await self._select(table).where(table.seq > seq).order_by(table.seq).limit(limit))

"""
Queries about the database as a whole.
"""

from __future__ import annotations

from datetime import datetime

from edictum_console.db.scope import SystemRepository
from edictum_console.db.tables import Approvals, EventCounts


class OperationsRepository(SystemRepository):
    """
    What concerns all tenants.
    """

    async def schema_version(self) -> int:
        """
        The last migration that ran.
        """
        (row,) = await self._database.fetch("SELECT max(version) AS version FROM schema_migrations")
        return int(row["version"])

    async def event_counts_waiting(self) -> int:
        """
        How many batches of events are not in the statistics yet.
        """
        return int(await self._table(EventCounts).count())

    async def approvals_pending(self) -> tuple[int, datetime | None]:
        """
        How many requests for approval nobody has decided, and when the oldest of them was made.
        """
        table = self._table(Approvals)
        waiting = table.status == "pending"
        rows = await table.select(table.created_at).where(waiting).order_by(table.created_at).limit(1)
        return int(await table.count().where(waiting)), rows[0]["created_at"] if rows else None

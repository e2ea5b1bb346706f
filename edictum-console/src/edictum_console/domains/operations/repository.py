"""
Queries about the database as a whole.
"""

from __future__ import annotations

from edictum_console.db.scope import SystemRepository
from edictum_console.db.tables import EventCounts


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

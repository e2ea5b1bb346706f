"""
Queries of approvals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import attrs

from edictum_console.db import tables
from edictum_console.db.scope import Repository, SystemRepository


@attrs.frozen
class Filter:
    """
    Which requests are asked for; None is any.
    """

    env: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    statuses: Sequence[str] | None = None


class ApprovalRepository(Repository):
    """
    The requests of one tenant.
    """

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add one.
        """
        await self._insert(self._table(tables.Approvals), values)

    async def find(self, approval_id: UUID) -> dict[str, Any] | None:
        """
        One of them.
        """
        table = self._table(tables.Approvals)
        rows = await self._select(table).where(table.id == approval_id)
        return rows[0] if rows else None

    async def page(self, wanted: Filter, before: UUID | None, offset: int, limit: int) -> list[dict[str, Any]]:
        """
        Requests made before one, newest first.
        """
        table = self._table(tables.Approvals)
        query = self._select(table).order_by(table.id, ascending=False).limit(limit).offset(offset)
        for column, value in (
            (table.env, wanted.env),
            (table.agent_id, wanted.agent_id),
            (table.session_id, wanted.session_id),
        ):
            if value is not None:
                query = query.where(column == value)
        if wanted.statuses is not None:
            query = query.where(table.status.is_in(list(wanted.statuses)))
        return list(await (query if before is None else query.where(table.id < before)))

    async def pending(self, env: str | None, now: datetime) -> int:
        """
        How many nobody has decided and are not over.
        """
        table = self._table(tables.Approvals)
        query = self._count(table).where(table.status == "pending").where(table.expires_at > now)
        return int(await (query if env is None else query.where(table.env == env)))

    async def polled(self, approval_id: UUID, now: datetime) -> None:
        """
        Note that the agent still waits.
        """
        table = self._table(tables.Approvals)
        await self._update(table, {"last_polled_at": now}).where(table.id == approval_id)

    async def decide(self, approval_id: UUID, now: datetime, values: Mapping[str, Any]) -> bool:
        """
        Change one that nobody has decided and that is not over; say whether it was so.
        """
        table = self._table(tables.Approvals)
        query = self._update(table, values).where(table.id == approval_id).where(table.status == "pending")
        return bool(await query.where(table.expires_at > now).returning(table.id))

    async def expire(self, approval_id: UUID, now: datetime, reason: str | None) -> bool:
        """
        End one that is over and was not decided; say whether it was so.
        """
        table = self._table(tables.Approvals)
        values = {"status": "timed_out", "decided_at": now, "decision_reason": reason}
        query = self._update(table, values).where(table.id == approval_id).where(table.status == "pending")
        return bool(await query.where(table.expires_at <= now).returning(table.id))


class DueApprovals(SystemRepository):
    """
    Requests that are over, of all tenants.
    """

    async def find(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """
        Some of them, the oldest first.
        """
        table = self._table(tables.Approvals)
        query = table.select(table.id, table.tenant_id).where(table.status == "pending")
        return list(await query.where(table.expires_at <= now).order_by(table.expires_at).limit(limit))

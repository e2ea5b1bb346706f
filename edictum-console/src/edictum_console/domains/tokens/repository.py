"""
Queries of tokens for scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from edictum_console.db import tables
from edictum_console.db.scope import Repository


class TokenRepository(Repository):
    """
    The tokens of one tenant.
    """

    async def alive(self, user_id: UUID, now: datetime) -> list[dict[str, Any]]:
        """
        A person's tokens that may still be used, newest first.
        """
        table = self._table(tables.ScriptTokens)
        query = self._select(table).where(table.user_id == user_id).where(table.revoked_at.is_null())
        return list(await query.where(table.expires_at > now).order_by(table.id, ascending=False))

    async def find(self, token_id: UUID) -> dict[str, Any] | None:
        """
        One of them.
        """
        table = self._table(tables.ScriptTokens)
        rows = await self._select(table).where(table.id == token_id)
        return rows[0] if rows else None

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add one.
        """
        await self._insert(self._table(tables.ScriptTokens), values)

    async def change(self, token_id: UUID, values: Mapping[str, Any]) -> None:
        """
        Change one.
        """
        table = self._table(tables.ScriptTokens)
        await self._update(table, values).where(table.id == token_id)

    async def end_all(self, user_id: UUID, now: datetime) -> None:
        """
        Revoke all of a person.
        """
        table = self._table(tables.ScriptTokens)
        await self._update(table, {"revoked_at": now}).where(table.user_id == user_id).where(table.revoked_at.is_null())

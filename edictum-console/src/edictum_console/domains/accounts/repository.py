"""
Queries of people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from edictum_console.db.scope import Repository, SystemRepository
from edictum_console.db.tables import Users


class UserRepository(Repository):
    """
    The people of one tenant.
    """

    async def all(self) -> list[dict[str, Any]]:
        """
        All of them, by address.
        """
        table = self._table(Users)
        return list(await self._select(table).order_by(table.email))

    async def find(self, user_id: UUID) -> dict[str, Any] | None:
        """
        One of them.
        """
        table = self._table(Users)
        rows = await self._select(table).where(table.id == user_id)
        return rows[0] if rows else None

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add one.
        """
        await self._insert(self._table(Users), values)

    async def change(self, user_id: UUID, values: Mapping[str, Any]) -> None:
        """
        Change one.
        """
        table = self._table(Users)
        await self._update(table, values).where(table.id == user_id)

    async def delete(self, user_id: UUID) -> None:
        """
        Remove one, with logins, tokens and who they are in channels.
        """
        table = self._table(Users)
        await self._delete(table).where(table.id == user_id)

    async def other_admins(self, user_id: UUID) -> int:
        """
        How many administrators there are besides one person.
        """
        table = self._table(Users)
        query = self._count(table).where(table.role == "admin").where(table.disabled_at.is_null())
        found: int = await query.where(table.id != user_id)
        return found


class PeopleLookup(SystemRepository):
    """
    People by what they sign in with.
    """

    async def find(self, email: str) -> dict[str, Any] | None:
        """
        The person with an address, in lower case.
        """
        table = self._table(Users)
        rows = await table.select(*table._meta.columns).where(table.email == email)
        return rows[0] if rows else None

    async def by_id(self, user_id: UUID) -> dict[str, Any] | None:
        """
        The person whom a reset link is for.
        """
        table = self._table(Users)
        rows = await table.select(*table._meta.columns).where(table.id == user_id)
        return rows[0] if rows else None

    async def anybody(self) -> bool:
        """
        Whether there is any person at all.
        """
        table = self._table(Users)
        return bool(await table.select(table.id).limit(1))

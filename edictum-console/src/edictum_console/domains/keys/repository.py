"""
Queries of API keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from piccolo.custom_types import Combinable

from edictum_console.db.scope import Repository, SystemRepository
from edictum_console.db.tables import ApiKeys


class KeyRepository(Repository):
    """
    The keys of one tenant.
    """

    async def page(self, before: UUID | None, limit: int) -> list[dict[str, Any]]:
        """
        Keys made before one, newest first.
        """
        table = self._table(ApiKeys)
        query = self._select(table).order_by(table.id, ascending=False).limit(limit)
        return list(await (query if before is None else query.where(table.id < before)))

    async def find(self, key_id: UUID) -> dict[str, Any] | None:
        """
        One of them.
        """
        table = self._table(ApiKeys)
        rows = await self._select(table).where(table.id == key_id)
        return rows[0] if rows else None

    async def with_prefix(self, prefix: str) -> dict[str, Any] | None:
        """
        The one with a prefix.
        """
        table = self._table(ApiKeys)
        rows = await self._select(table).where(table.key_prefix == prefix)
        return rows[0] if rows else None

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add one.
        """
        await self._insert(self._table(ApiKeys), {**values, "scopes": json.dumps(values["scopes"])})

    async def change(self, key_id: UUID, values: Mapping[str, Any]) -> None:
        """
        Change one.
        """
        table = self._table(ApiKeys)
        await self._update(table, values).where(table.id == key_id)

    async def any_for(self, env: str) -> bool:
        """
        Whether there is one for an environment that has not ended.
        """
        table = self._table(ApiKeys)
        return bool(await self._count(table).where(table.env == env).where(_alive(table)))

    async def alive(self) -> list[dict[str, Any]]:
        """
        Those that have not ended.
        """
        table = self._table(ApiKeys)
        return list(await self._select(table, table.id, table.signing_key_id).where(_alive(table)))

    async def bound(self) -> list[dict[str, Any]]:
        """
        Those that are bound to a signing key, newest first.
        """
        table = self._table(ApiKeys)
        chosen = (table.key_prefix, table.label, table.env, table.signing_key_id)
        query = self._select(table, *chosen).where(table.signing_key_id.is_not_null()).where(_alive(table))
        return list(await query.order_by(table.id, ascending=False))

    async def bound_to(self, signing_key_id: str | None) -> list[UUID]:
        """
        Those that are bound to a signing key, or to none.
        """
        table = self._table(ApiKeys)
        bound = table.signing_key_id.is_null() if signing_key_id is None else table.signing_key_id == signing_key_id
        return [row["id"] for row in await self._select(table, table.id).where(bound).where(_alive(table))]


def _alive(table: type[ApiKeys]) -> Combinable:
    now = datetime.now(UTC)
    return table.revoked_at.is_null() & (table.expires_at.is_null() | (table.expires_at > now))


class KeyLookup(SystemRepository):
    """
    Keys by their prefix, which is all that is known of who asks.
    """

    async def find(self, prefix: str) -> dict[str, Any] | None:
        """
        The key with a prefix.
        """
        table = self._table(ApiKeys)
        rows = await table.select(*table._meta.columns).where(table.key_prefix == prefix)
        return rows[0] if rows else None

    async def used(self, key_id: UUID) -> None:
        """
        Note that one was used now.
        """
        table = self._table(ApiKeys)
        await table.update({"last_used_at": datetime.now(UTC)}).where(table.id == key_id)

"""
Queries of agents.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from edictum_console.db import tables
from edictum_console.db.scope import Repository

_CHUNK = 500  # ids in one query
_MAPPINGS = ("operator_tags", "reported_tags")


class AgentRepository(Repository):
    """
    The agents of one tenant.
    """

    async def find(self, env: str, agent_id: str) -> dict[str, Any] | None:
        """
        One of them.
        """
        table = self._table(tables.AgentRegistrations)
        rows = await self._select(table).where(table.env == env).where(table.agent_id == agent_id)
        return _read(rows[0]) if rows else None

    async def find_by_id(self, registration_id: UUID) -> dict[str, Any] | None:
        """
        One of them, by its id here.
        """
        table = self._table(tables.AgentRegistrations)
        rows = await self._select(table).where(table.id == registration_id)
        return _read(rows[0]) if rows else None

    async def named(self, agent_id: str) -> list[dict[str, Any]]:
        """
        Those of one name, in all environments.
        """
        table = self._table(tables.AgentRegistrations)
        return [_read(row) for row in await self._select(table).where(table.agent_id == agent_id).order_by(table.env)]

    async def page(self, env: str | None, before: UUID | None, limit: int) -> list[dict[str, Any]]:
        """
        Those that were first seen before one, newest first.
        """
        table = self._table(tables.AgentRegistrations)
        query = self._select(table).order_by(table.id, ascending=False).limit(limit)
        if env is not None:
            query = query.where(table.env == env)
        rows = await (query if before is None else query.where(table.id < before))
        return [_read(row) for row in rows]

    async def among(self, env: str, agent_ids: Collection[str]) -> list[dict[str, Any]]:
        """
        Those of an environment that are named.
        """
        table = self._table(tables.AgentRegistrations)
        rows: list[dict[str, Any]] = []
        for chunk in _chunks(agent_ids):
            rows += await self._select(table).where(table.env == env).where(table.agent_id.is_in(chunk))
        return [_read(row) for row in rows]

    async def operated(self) -> list[dict[str, Any]]:
        """
        Those that operators said anything about that counts for rulesets.
        """
        table = self._table(tables.AgentRegistrations)
        chosen = (table.env, table.agent_id, table.bundle_name, table.operator_tags)
        said = table.bundle_name.is_not_null() | (table.operator_tags != "{}")
        return [
            {**row, "operator_tags": json.loads(row["operator_tags"])}
            for row in await self._select(table, *chosen).where(said)
        ]

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add one, unless it is there.
        """
        table = self._table(tables.AgentRegistrations)
        key = (table.tenant_id, table.env, table.agent_id)
        await self._insert(table, _written(values)).on_conflict(target=key, action="DO NOTHING")

    async def change(self, registration_id: UUID, values: Mapping[str, Any]) -> None:
        """
        Change one.
        """
        table = self._table(tables.AgentRegistrations)
        await self._update(table, _written(values)).where(table.id == registration_id)

    async def change_all(self, env: str, agent_ids: Collection[str], values: Mapping[str, Any]) -> int:
        """
        Change those of an environment that are named; say how many there were.
        """
        table = self._table(tables.AgentRegistrations)
        changed = 0
        for chunk in _chunks(agent_ids):
            query = self._update(table, _written(values)).where(table.env == env).where(table.agent_id.is_in(chunk))
            changed += len(await query.returning(table.id))
        return changed

    async def seen(self, env: str, agent_ids: Collection[str], now: datetime) -> None:
        """
        Note that some were seen.
        """
        await self.change_all(env, agent_ids, {"last_seen_at": now})


def _chunks(values: Collection[str]) -> list[list[str]]:
    ordered = sorted(values)
    return [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]


def _read(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **{name: json.loads(row[name]) for name in _MAPPINGS}}


def _written(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value, sort_keys=True) if name in _MAPPINGS else value for name, value in values.items()}

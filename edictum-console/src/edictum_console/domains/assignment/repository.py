"""
Queries of assignment rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from edictum_console.db import tables
from edictum_console.db.scope import Repository


class RuleRepository(Repository):
    """
    The assignment rules of one tenant.
    """

    async def all(self, env: str | None = None) -> list[dict[str, Any]]:
        """
        All of them, or those of one environment, by priority.
        """
        table = self._table(tables.AssignmentRules)
        query = self._select(table).order_by(table.env).order_by(table.priority)
        rows = await (query if env is None else query.where(table.env == env))
        return [_read(row) for row in rows]

    async def find(self, rule_id: UUID) -> dict[str, Any] | None:
        """
        One of them.
        """
        table = self._table(tables.AssignmentRules)
        rows = await self._select(table).where(table.id == rule_id)
        return _read(rows[0]) if rows else None

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add one.
        """
        await self._insert(self._table(tables.AssignmentRules), _written(values))

    async def change(self, rule_id: UUID, values: Mapping[str, Any]) -> None:
        """
        Change one.
        """
        table = self._table(tables.AssignmentRules)
        await self._update(table, _written(values)).where(table.id == rule_id)

    async def delete(self, rule_id: UUID) -> None:
        """
        Remove one.
        """
        table = self._table(tables.AssignmentRules)
        await self._delete(table).where(table.id == rule_id)


def _read(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "tag_match": json.loads(row["tag_match"])}


def _written(values: Mapping[str, Any]) -> dict[str, Any]:
    written = dict(values)
    if "tag_match" in written:
        written["tag_match"] = json.dumps(written["tag_match"], sort_keys=True)
    return written

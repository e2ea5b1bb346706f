"""
Queries of deployments.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from piccolo.query.functions.aggregate import Max

from edictum_console.db import tables
from edictum_console.db.scope import Repository

_CHUNK = 100  # rulesets in one query


class DeploymentRepository(Repository):
    """
    The deployments of one tenant.
    """

    async def newest(self, env: str, name: str, limit: int = 1) -> list[dict[str, Any]]:
        """
        The last deployments of a ruleset to an environment, newest first.
        """
        table = self._table(tables.Deployments)
        query = self._select(table).where(table.env == env).where(table.bundle_name == name)
        return list(await query.order_by(table.deployment_seq, ascending=False).limit(limit))

    async def running(self) -> list[dict[str, Any]]:
        """
        The last deployment of each ruleset to each environment, without its envelope.
        """
        table = self._table(tables.Deployments)
        chosen: list[Any] = [table.env, table.bundle_name, Max(table.deployment_seq, alias="newest")]
        newest = await self._select(table, *chosen).group_by(table.env, table.bundle_name)
        shown = (table.env, table.bundle_name, table.bundle_version, table.revision_hash, table.deployment_seq)
        rows: list[dict[str, Any]] = []
        for start in range(0, len(newest), _CHUNK):
            wanted = [
                (table.env == row["env"])
                & (table.bundle_name == row["bundle_name"])
                & (table.deployment_seq == row["newest"])
                for row in newest[start : start + _CHUNK]
            ]
            rows += await self._select(table, *shown, table.created_at).where(reduce(or_, wanted))
        return rows

    async def before(self, env: str, name: str, version: int) -> dict[str, Any] | None:
        """
        The last deployment of another version.
        """
        table = self._table(tables.Deployments)
        query = self._select(table).where(table.env == env).where(table.bundle_name == name)
        rows = (
            await query.where(table.bundle_version != version).order_by(table.deployment_seq, ascending=False).limit(1)
        )
        return rows[0] if rows else None

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add one.
        """
        await self._insert(self._table(tables.Deployments), values)

    async def page(self, name: str | None, env: str | None, before: UUID | None, limit: int) -> list[dict[str, Any]]:
        """
        Deployments made before one, newest first.
        """
        table = self._table(tables.Deployments)
        query = self._select(table).order_by(table.id, ascending=False).limit(limit)
        if name is not None:
            query = query.where(table.bundle_name == name)
        if env is not None:
            query = query.where(table.env == env)
        return list(await (query if before is None else query.where(table.id < before)))

"""
Queries of compositions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from edictum_console.db import tables
from edictum_console.db.scope import Repository


class CompositionRepository(Repository):
    """
    The compositions of one tenant.
    """

    async def all(self) -> list[dict[str, Any]]:
        """
        All of them.
        """
        return list(await self._select(self._table(tables.Compositions)))

    async def find(self, name: str) -> dict[str, Any] | None:
        """
        One of them.
        """
        table = self._table(tables.Compositions)
        rows = await self._select(table).where(table.name == name)
        return rows[0] if rows else None

    async def items(self, composition_id: UUID) -> list[dict[str, Any]]:
        """
        What is in one, in order.
        """
        table = self._table(tables.CompositionItems)
        return list(await self._select(table).where(table.composition_id == composition_id).order_by(table.position))

    async def add(self, values: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> None:
        """
        Add one, with what is in it.
        """
        await self._insert(self._table(tables.Compositions), values)
        await self._add_items(values["id"], items)

    async def change(self, composition_id: UUID, values: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> None:
        """
        Change one, and all that is in it.
        """
        table = self._table(tables.Compositions)
        await self._update(table, values).where(table.id == composition_id)
        contents = self._table(tables.CompositionItems)
        await self._delete(contents).where(contents.composition_id == composition_id)
        await self._add_items(composition_id, items)

    async def delete(self, composition_id: UUID) -> None:
        """
        Remove one, with what is in it.
        """
        table = self._table(tables.Compositions)
        await self._delete(table).where(table.id == composition_id)

    async def users_of(self, contract_id: str) -> list[dict[str, Any]]:
        """
        Where a contract is used, by the id of the composition.
        """
        table = self._table(tables.CompositionItems)
        return list(await self._select(table).where(table.contract_id == contract_id).order_by(table.position))

    async def built(self, composition_id: UUID, bundle_id: UUID) -> bool:
        """
        Whether a version of a ruleset came from a composition.
        """
        table = self._table(tables.CompositionBuilds)
        count = self._count(table).where(table.composition_id == composition_id).where(table.bundle_id == bundle_id)
        return bool(await count)

    async def add_build(self, composition_id: UUID, bundle_id: UUID, contents: str) -> None:
        """
        Note that one did.
        """
        row = {"composition_id": composition_id, "bundle_id": bundle_id, "contents": contents}
        await self._insert(self._table(tables.CompositionBuilds), row)

    async def _add_items(self, composition_id: UUID, items: Sequence[Mapping[str, Any]]) -> None:
        if items:
            rows = [{**item, "composition_id": composition_id, "position": at} for at, item in enumerate(items)]
            await self._insert(self._table(tables.CompositionItems), *rows)

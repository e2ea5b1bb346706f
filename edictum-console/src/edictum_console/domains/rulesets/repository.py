"""
Queries of rulesets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from piccolo.query.functions.aggregate import Count, Max

from edictum_console.db.scope import Repository
from edictum_console.db.tables import Bundles, BundleSignatures


class RulesetRepository(Repository):
    """
    The rulesets of one tenant.
    """

    async def names(self) -> list[dict[str, Any]]:
        """
        The name, the newest version and the number of versions of each.
        """
        table = self._table(Bundles)
        chosen: list[Any] = [table.name, Max(table.version, alias="latest"), Count(alias="versions")]
        return list(await self._select(table, *chosen).group_by(table.name).order_by(table.name))

    async def versions(self, name: str, before: int | None, limit: int) -> list[dict[str, Any]]:
        """
        Versions below a number, newest first, without their text.
        """
        table = self._table(Bundles)
        columns = [column for column in table._meta.columns if column is not table.yaml_text]
        query = self._select(table, *columns).where(table.name == name).order_by(table.version, ascending=False)
        return list(await (query if before is None else query.where(table.version < before)).limit(limit))

    async def find(self, name: str, version: int) -> dict[str, Any] | None:
        """
        One version, with its text.
        """
        table = self._table(Bundles)
        rows = await self._select(table).where(table.name == name).where(table.version == version)
        return rows[0] if rows else None

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add a version.
        """
        await self._insert(self._table(Bundles), values)

    async def signature(self, bundle_id: UUID, key_id: str) -> str | None:
        """
        The signature of a version by a key.
        """
        table = self._table(BundleSignatures)
        rows = await (
            self._select(table, table.signature).where(table.bundle_id == bundle_id).where(table.key_id == key_id)
        )
        return str(rows[0]["signature"]) if rows else None

    async def add_signature(self, bundle_id: UUID, key_id: str, signature: str) -> None:
        """
        Keep a signature.
        """
        row = {"bundle_id": bundle_id, "key_id": key_id, "signature": signature}
        await self._insert(self._table(BundleSignatures), row)

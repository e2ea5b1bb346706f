"""
The only way to a query: a scope that holds the tenant and adds it to everything.

A :class:`Repository` cannot be built without a :class:`TenantScope`.  Its helpers return Piccolo's queries with the
tenant already in them; a repository adds conditions, and cannot take that one away.  :class:`SystemRepository` is for
the few questions that come before a tenant is known, or concern all of them; ``tests/test_architecture.py`` lists its
subclasses with their reasons, and fails on queries made in any other way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import attrs
from piccolo.columns import Column
from piccolo.query import Count, Delete, Insert, Select, Update
from piccolo.querystring import QueryString
from piccolo.table import Table

from edictum_console.db.database import Database
from edictum_console.db.tables import TenantTable
from edictum_console.ids import new_id

Wake: TypeAlias = Callable[[UUID], Awaitable[None]]

TenantTableT = TypeVar("TenantTableT", bound=TenantTable)
TableT = TypeVar("TableT", bound=Table)


@attrs.frozen
class TenantScope:
    """
    One tenant's part of a database.

    Attributes:
        database: The database.
        tenant_id: The tenant.
        wake: Called after a commit that streams must learn of.
    """

    database: Database
    tenant_id: UUID
    wake: Wake = attrs.field(repr=False)

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """
        Do everything inside or nothing.
        """
        return self.database.transaction()


@attrs.frozen
class Scopes:
    """
    Makes scopes.

    Attributes:
        database: The database.
        wake: Called after a commit that streams must learn of.
    """

    database: Database
    wake: Wake = attrs.field(repr=False)

    def of(self, tenant_id: UUID) -> TenantScope:
        """
        The scope of a tenant.
        """
        return TenantScope(self.database, tenant_id, self.wake)


class Repository:
    """
    Queries of one domain, for one tenant.
    """

    def __init__(self, scope: TenantScope) -> None:
        if not isinstance(scope, TenantScope):
            raise TypeError(f"a repository is built from a TenantScope, not {type(scope).__name__}")
        self._scope = scope

    def _table(self, table: type[TenantTableT]) -> type[TenantTableT]:
        return self._scope.database.table(table)

    def _select(self, table: type[TenantTable], *columns: Column | QueryString) -> Select[Any]:
        """
        Rows of the tenant.
        """
        chosen = columns or tuple(table._meta.columns)
        return table.select(*chosen).where(table.tenant_id == self._scope.tenant_id)

    async def _select_among(
        self,
        table: type[TenantTable],
        columns: Sequence[str],
        same: Mapping[str, Any],
        among: str,
        values: Sequence[Any],
    ) -> Sequence[Mapping[str, Any]]:
        """
        Read rows of the tenant by a statement that is prepared once.

        Args:
            table: The table.
            columns: What is read.
            same: Values that the rows have, by the names of their columns; without the tenant.
            among: A column of which each row has one of some values.
            values: These values.
        """
        return await self._scope.database.select_among(table, columns, self._owned(same), among, values)

    def _count(self, table: type[TenantTable]) -> Count:
        """
        The number of the tenant's rows.
        """
        return table.count().where(table.tenant_id == self._scope.tenant_id)

    def _insert(self, table: type[TenantTable], *rows: Mapping[str, Any]) -> Insert[Any]:
        """
        New rows of the tenant; each gets an id where it has none.
        """
        return table.insert(*(table(**{"id": new_id(), **row, "tenant_id": self._scope.tenant_id}) for row in rows))

    async def _insert_new(
        self,
        table: type[TenantTable],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        shared: Mapping[str, Any],
    ) -> list[UUID]:
        """
        Insert many rows of the tenant at once, but for those that are there already, and return the ids of the others.

        Args:
            table: The table.
            columns: The columns in which rows differ, ``id`` first.
            rows: Their values, in an order that all who insert keep to.
            shared: The values that all rows have, by the names of their columns; without the tenant.
        """
        return await self._scope.database.insert_new(table, columns, rows, self._owned(shared))

    async def _insert_or_update(
        self,
        table: type[TenantTable],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        shared: Mapping[str, Any],
        update: str,
    ) -> None:
        """
        Insert many rows of the tenant at once, and change those that are there already.

        Args:
            table: The table.
            columns: The columns in which rows differ.
            rows: Their values, in an order that all who insert keep to.
            shared: The values that all rows have, by the names of their columns; without the tenant.
            update: What follows ``ON CONFLICT``: a target with ``tenant_id`` in it, so that no other tenant's row is
                changed, and what changes.
        """
        if "tenant_id" not in update.partition(")")[0]:
            raise ValueError("rows of other tenants must not conflict")
        await self._scope.database.insert_or_update(table, columns, rows, self._owned(shared), update)

    def _owned(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        return {**shared, "tenant_id": self._scope.tenant_id}

    def _update(self, table: type[TenantTable], values: Mapping[Any, Any]) -> Update[Any]:
        """
        A change of the tenant's rows; new values by the names of their columns.
        """
        if "tenant_id" in values or not all(isinstance(name, str) for name in values):
            raise ValueError("a row does not change its tenant")
        return table.update(dict(values)).where(table.tenant_id == self._scope.tenant_id)

    def _delete(self, table: type[TenantTable]) -> Delete:
        """
        The end of the tenant's rows.
        """
        return table.delete().where(table.tenant_id == self._scope.tenant_id)


class SystemRepository:
    """
    Queries that come before a tenant is known, or concern all of them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def _table(self, table: type[TableT]) -> type[TableT]:
        return self._database.table(table)

    def _insert(self, table: type[TenantTable], *rows: Mapping[str, Any]) -> Insert[Any]:
        """
        New rows, each with the tenant that it names; each gets an id where it has none.
        """
        return table.insert(*(table(**{"id": new_id(), **row, "tenant_id": row["tenant_id"]}) for row in rows))

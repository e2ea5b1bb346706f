"""
Queries of counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import attrs
from piccolo.columns import Column
from piccolo.query import Select
from piccolo.query.functions.aggregate import Sum
from piccolo.querystring import QueryString

from edictum_console.db import tables
from edictum_console.db.scope import Repository, SystemRepository
from edictum_console.domains.rollups.counting import HOUR, Counts, Group
from edictum_console.ids import new_id

DIMENSIONS = ("env", "agent_id", "tool_name", "action", "mode", "rule_name")

_COUNTED = ("id", *Group._fields, "number", "duration_sum")
_EVALUATED = ("id", "minute", "rule_name", "evaluated")
_ADD = (
    "(tenant_id, minute, span, env, agent_id, tool_name, action, mode, rule_name) DO UPDATE SET "
    "number = event_rollups.number + excluded.number, duration_sum = event_rollups.duration_sum + excluded.duration_sum"
)
_ADD_RULES = "(tenant_id, minute, env, rule_name) DO UPDATE SET evaluated = rule_rollups.evaluated + excluded.evaluated"


@attrs.frozen
class Window:
    """
    Which counts are asked for: from one minute to before another, and one of some values for each dimension.
    """

    first: int
    end: int
    values: Mapping[str, Sequence[str]]


class RollupRepository(Repository):
    """
    The counts of one tenant.
    """

    async def note(self, env: str, counts: str, now: datetime) -> None:
        """
        Keep what a batch adds until it is added.
        """
        shared = {"created_at": now, "env": env}
        await self._insert_new(self._table(tables.EventCounts), ("id", "counts"), [(new_id(), counts)], shared)

    async def noted(self, limit: int) -> list[dict[str, Any]]:
        """
        Some of what is not added yet, the oldest first.
        """
        table = self._table(tables.EventCounts)
        return list(await self._select(table, table.id, table.env, table.counts).order_by(table.id).limit(limit))

    async def forget(self, ids: Sequence[UUID]) -> None:
        """
        Remove what was added.
        """
        table = self._table(tables.EventCounts)
        await self._delete(table).where(table.id.is_in(list(ids)))

    async def add(self, env: str, counts: Counts, now: datetime, span: int = 1) -> None:
        """
        Add counts of an environment.
        """
        rows = [(new_id(), *group, number, total) for group, (number, total) in sorted(counts.groups.items())]
        shared = {"created_at": now, "env": env}
        minutes = {**shared, "span": span}
        await self._insert_or_update(self._table(tables.EventRollups), _COUNTED, rows, minutes, _ADD)
        rules = [(new_id(), hour, rule, number) for (hour, rule), number in sorted(counts.rules.items())]
        await self._insert_or_update(self._table(tables.RuleRollups), _EVALUATED, rules, shared, _ADD_RULES)

    async def take_minutes(self, before: int, limit: int) -> list[dict[str, Any]]:
        """
        Remove some counts of minutes before one, and return them.
        """
        table = self._table(tables.EventRollups)
        query = self._select(table).where(table.span == 1).where(table.minute < before)
        rows = list(await query.order_by(table.minute).limit(limit))
        if rows:
            await self._delete(table).where(table.id.is_in([row["id"] for row in rows]))
        return rows

    async def totals(self, window: Window, *dimensions: str, limit: int = 10_000) -> list[dict[str, Any]]:
        """
        Counts by dimensions, the largest first.
        """
        table = self._table(tables.EventRollups)
        columns = [table._meta.get_column_by_name(name) for name in dimensions]
        query = self._within(window, *columns, Sum(table.number, alias="total")).group_by(*columns)
        order = QueryString("SUM(number) DESC" + "".join(f", {name}" for name in dimensions))
        return list(await query.order_by(order).limit(limit))

    async def buckets(self, window: Window, minutes: int) -> list[dict[str, Any]]:
        """
        Counts by action and time, in buckets of so many minutes.
        """
        table = self._table(tables.EventRollups)
        bucket = f"minute - minute % {minutes:d}"
        query = self._within(
            window, QueryString(bucket, alias="bucket"), table.action, Sum(table.number, alias="total")
        )
        return list(await query.group_by(QueryString(bucket), table.action))

    async def evaluated(self, first: int, end: int, env: str | None) -> list[dict[str, Any]]:
        """
        How often each rule was evaluated in the hours from one minute to before another.
        """
        table = self._table(tables.RuleRollups)
        query = self._select(table, table.rule_name, Sum(table.evaluated, alias="evaluated"))
        query = query.where(table.minute >= first).where(table.minute < end)
        query = query if env is None else query.where(table.env == env)
        return list(await query.group_by(table.rule_name))

    def _within(self, window: Window, *columns: Column | QueryString) -> Select[Any]:
        table = self._table(tables.EventRollups)
        query = self._select(table, *columns).where(table.minute >= window.first).where(table.minute < window.end)
        for name, values in window.values.items():
            query = query.where(table._meta.get_column_by_name(name).is_in(list(values)))
        return query


class RollupTenants(SystemRepository):
    """
    Which tenants have something to be added or made smaller, and what is over for all of them.
    """

    async def with_notes(self) -> list[UUID]:
        """
        Tenants with counts that are not added yet.
        """
        rows = await self._database.fetch("SELECT DISTINCT tenant_id FROM event_counts")
        return [row["tenant_id"] for row in rows]

    async def with_minutes(self, before: int) -> list[UUID]:
        """
        Tenants with counts of single minutes before one.
        """
        statement = "SELECT DISTINCT tenant_id FROM event_rollups WHERE span = 1 AND minute < {}"
        return [row["tenant_id"] for row in await self._database.fetch(statement, before)]

    async def remove(self, before: int) -> None:
        """
        Remove counts of all minutes before one.
        """
        for table in ("event_rollups", "rule_rollups"):
            await self._database.fetch(f"DELETE FROM {table} WHERE minute < {{}}", before)


def group_of(row: Mapping[str, Any]) -> Group:
    """
    The group that a row counts, by the hour.
    """
    hour = row["minute"] - row["minute"] % HOUR
    return Group(hour, row["agent_id"], row["tool_name"], row["action"], row["mode"], row["rule_name"])

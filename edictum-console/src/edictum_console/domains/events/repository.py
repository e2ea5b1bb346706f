"""
Queries of the decision log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

import attrs
from piccolo.columns import Column
from piccolo.columns.combination import WhereRaw
from piccolo.query import Select
from piccolo.query.functions.aggregate import Count
from piccolo.querystring import QueryString

from edictum_console.db import tables
from edictum_console.db.scope import Repository, SystemRepository
from edictum_console.ids import id_at, new_id

FACETS = ("agent_id", "tool_name", "action", "mode", "rule_name", "env")

_COLUMNS = (
    "id",
    "day",
    "occurred_at",
    "agent_id",
    "session_id",
    "parent_session_id",
    "call_id",
    "tool_name",
    "action",
    "mode",
    "rule_name",
    "policy_version",
    "principal_id",
    "reason",
    "duration_ms",
    "payload",
)
_values = attrgetter(*_COLUMNS)
_number = attrgetter("id.int")
_SEARCHED = ("agent_id", "tool_name", "rule_name", "reason")
_NEWER_SNAPSHOT = (
    "(tenant_id, env, agent_id, session_id) DO UPDATE SET snapshot = excluded.snapshot, "
    "occurred_at = excluded.occurred_at WHERE excluded.occurred_at >= workflow_snapshots.occurred_at"
)
_MICROSECONDS = 60_000_000


@attrs.frozen
class Filter:
    """
    Which events are asked for.

    Attributes:
        values: For some columns, the values of which an event has one.
        since: Microseconds since 1970 from which on they happened.
        until: Microseconds before which they happened.
        text: Part of the agent, tool, rule or reason.
    """

    values: Mapping[str, Sequence[str]]
    since: int | None = None
    until: int | None = None
    text: str | None = None

    def without(self, column: str) -> Filter:
        """
        The filter without what it says about one column.
        """
        return attrs.evolve(self, values={name: kept for name, kept in self.values.items() if name != column})


class EventRepository(Repository):
    """
    The decision log of one tenant.
    """

    async def add(self, env: str, events: Sequence[Any], now: datetime) -> set[UUID]:
        """
        Store events, and return the ids of those that were not there.

        Args:
            env: The environment of the key that delivers them.
            events: The events, each with the attributes that are named as the columns are.
            now: When they came.
        """
        # In one order for all: who inserts the same events at the same time waits for the other, not in a circle.
        rows = list(map(_values, sorted(events, key=_number)))
        shared = {"created_at": now, "env": env}
        return set(await self._insert_new(self._table(tables.Events), _COLUMNS, rows, shared))

    async def keep_snapshots(self, env: str, newest: Mapping[tuple[str, str], tuple[int, str]], now: datetime) -> None:
        """
        Keep the workflow states of sessions, unless newer ones are known.
        """
        rows = [(new_id(), *session, *state) for session, state in sorted(newest.items())]
        columns, shared = ("id", "agent_id", "session_id", "occurred_at", "snapshot"), {"created_at": now, "env": env}
        await self._insert_or_update(self._table(tables.WorkflowSnapshots), columns, rows, shared, _NEWER_SNAPSHOT)

    async def snapshot(self, env: str | None, agent_id: str, session_id: str | None) -> dict[str, Any] | None:
        """
        The last workflow state of a session, or of the agent's last session.
        """
        table = self._table(tables.WorkflowSnapshots)
        query = self._select(table).where(table.agent_id == agent_id)
        query = query if env is None else query.where(table.env == env)
        query = query if session_id is None else query.where(table.session_id == session_id)
        rows = await query.order_by(table.occurred_at, ascending=False).limit(1)
        return rows[0] if rows else None

    async def find(self, event_id: UUID) -> dict[str, Any] | None:
        """
        One event.
        """
        table = self._table(tables.Events)
        rows = await self._select(table).where(table.id == event_id).limit(1)
        return rows[0] if rows else None

    async def page(self, wanted: Filter, before: UUID | None, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """
        Events before one, the newest first.
        """
        table = self._table(tables.Events)
        query = self._matching(wanted)
        query = query if before is None else query.where(table.id < before)
        return list(await query.order_by(table.id, ascending=False).limit(limit).offset(offset))

    async def latest(self, wanted: Filter, limit: int) -> list[dict[str, Any]]:
        """
        How long the last calls took, and when they happened and came.
        """
        table = self._table(tables.Events)
        chosen = (table.occurred_at, table.created_at, table.duration_ms, table.action)
        return list(await self._matching(wanted, *chosen).order_by(table.id, ascending=False).limit(limit))

    async def totals(self, wanted: Filter, column: str, limit: int) -> list[dict[str, Any]]:
        """
        How many events there are of each value of a column, the most frequent first.
        """
        table = self._table(tables.Events)
        chosen = table._meta.get_column_by_name(column)
        query = self._matching(wanted, chosen, Count(alias="total")).group_by(chosen)
        return list(await query.order_by(QueryString(f"COUNT(*) DESC, {column}")).limit(limit))

    async def buckets(self, wanted: Filter, minutes: int) -> list[dict[str, Any]]:
        """
        How many events there are of each action in buckets of so many minutes.
        """
        table = self._table(tables.Events)
        bucket = f"occurred_at / {_MICROSECONDS} - occurred_at / {_MICROSECONDS} % {minutes:d}"
        query = self._matching(wanted, QueryString(bucket, alias="bucket"), table.action, Count(alias="total"))
        return list(await query.group_by(QueryString(bucket), table.action))

    async def dropped(self, wanted: Filter, limit: int) -> list[dict[str, Any]]:
        """
        The last reports of agents that lost events.
        """
        table = self._table(tables.Events)
        query = self._matching(wanted, table.payload).where(table.action == "events_dropped")
        return list(await query.order_by(table.id, ascending=False).limit(limit))

    def _matching(self, wanted: Filter, *columns: Column | QueryString) -> Select[Any]:
        table = self._table(tables.Events)
        query = self._select(table, *columns)
        for name, values in wanted.values.items():
            query = query.where(table._meta.get_column_by_name(name).is_in(list(values)))
        # The days say which parts of the table need not be looked at.
        if wanted.since is not None:
            query = query.where(table.id >= id_at(wanted.since)).where(table.day >= _day(wanted.since))
        if wanted.until is not None:
            query = query.where(table.id < id_at(wanted.until)).where(table.day <= _day(wanted.until))
        if wanted.text is not None:
            escaped = wanted.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            parts = " OR ".join(f"LOWER({name}) LIKE LOWER({{}}) ESCAPE '\\'" for name in _SEARCHED)
            query = query.where(WhereRaw(f"({parts})", *[f"%{escaped}%"] * len(_SEARCHED)))
        return query


class EventUpkeep(SystemRepository):
    """
    What is done to the logs of all tenants: making room for the months to come, and removing what is over.
    """

    async def keep_partitions(self, partitions: Mapping[str, tuple[int, int]], oldest: int) -> None:
        """
        Make the parts that there must be, and drop those that end before the oldest day that anybody keeps.
        """
        await self._database.keep_partitions(tables.Events, partitions, oldest)

    async def stray_days(self) -> list[int]:
        """
        The days of events that came before there was a part for them; none where nothing is divided.
        """
        return await self._database.days_without_partition(tables.Events)

    async def retention(self) -> list[dict[str, Any]]:
        """
        For each environment that says it: how many days its events are kept.
        """
        table = self._table(tables.Environments)
        query = table.select(table.tenant_id, table.name, table.event_retention_days)
        return list(await query.where(table.event_retention_days.is_not_null()))

    async def remove(self, tenant_id: UUID, before: int, only: str | None, but: Sequence[str], limit: int) -> int:
        """
        Remove some events of a tenant that happened before a day.

        Args:
            tenant_id: The tenant.
            before: The first day that stays.
            only: The environment; None for all but some.
            but: The environments that are left alone.
            limit: How many at most.

        Returns:
            How many were removed.
        """
        table = self._table(tables.Events)
        query = table.select(table.id).where(table.tenant_id == tenant_id).where(table.day < before)
        if only is not None:
            query = query.where(table.env == only)
        elif but:
            query = query.where(table.env.not_in(list(but)))
        ids = [row["id"] for row in await query.limit(limit)]
        if ids:
            found = table.delete().where(table.tenant_id == tenant_id).where(table.day < before)
            await found.where(table.id.is_in(ids))
        return len(ids)


def day_of(day: date) -> int:
    """
    A day as a number that sorts, such as 20260131.
    """
    return day.year * 10_000 + day.month * 100 + day.day


def _day(occurred_at: int) -> int:
    return day_of(date(1970, 1, 1) + timedelta(microseconds=occurred_at))

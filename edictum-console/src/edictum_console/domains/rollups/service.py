"""
Counting events: noted with each batch, added up soon after, and kept by the hour when they are older.

A batch only notes its counts, in the transaction that stores its events: adding them at once would make agents wait for
each other.  A worker adds what was noted; so does whoever is about to read, so that counts are never behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from edictum_console.db.scope import Scopes, TenantScope
from edictum_console.domains.rollups.counting import HOUR, Countable, Counts
from edictum_console.domains.rollups.repository import (
    DIMENSIONS,
    RollupRepository,
    RollupTenants,
    Window,
    group_of,
)

MINUTES_KEPT = timedelta(hours=48)
ROLLUPS_KEPT = timedelta(days=400)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CHUNK = 500
_ROWS_AT_ONCE = 2000


def minute_of(moment: datetime) -> int:
    """
    The number of the minute that a moment lies in, from 1970.
    """
    return (moment - _EPOCH) // timedelta(minutes=1)


def finest(now: datetime) -> int:
    """
    The minute from which on counts by the minute are kept.
    """
    minute = minute_of(now - MINUTES_KEPT)
    return minute - minute % HOUR + HOUR


class RollupService:
    """
    The counts of one tenant.
    """

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._rows = RollupRepository(scope)

    async def note(self, env: str, events: Iterable[Countable], now: datetime) -> None:
        """
        Note what events add, in the transaction that stores them.

        Args:
            env: Their environment.
            events: The events; each was not stored before.
            now: The time.
        """
        self._scope.database.require_transaction()
        await self._rows.note(env, Counts.of(events).written(), now)

    async def fold(self) -> int:
        """
        Add all that was noted.

        Returns:
            How many batches that were.
        """
        folded = 0
        while await self._rows.noted(1):
            async with self._scope.transaction():
                await self._lock()
                rows = await self._rows.noted(_CHUNK)
                if not rows:
                    return folded  # somebody else was first
                by_env: dict[str, Counts] = {}
                for row in rows:
                    by_env.setdefault(row["env"], Counts()).add(row["counts"])
                now = await self._scope.database.now()
                for env, counts in sorted(by_env.items()):
                    await self._rows.add(env, counts, now)
                await self._rows.forget([row["id"] for row in rows])
            folded += len(rows)
        return folded

    async def coarsen(self, before: int) -> None:
        """
        Put the counts of minutes before one together by the hour.
        """
        while True:
            async with self._scope.transaction():
                await self._lock()
                rows = await self._rows.take_minutes(before, _ROWS_AT_ONCE)
                if not rows:
                    return
                by_env: dict[str, Counts] = {}
                for row in rows:
                    groups = by_env.setdefault(row["env"], Counts()).groups
                    number, total = groups.get(group_of(row), (0, 0))
                    groups[group_of(row)] = number + row["number"], total + row["duration_sum"]
                now = await self._scope.database.now()
                for env, counts in sorted(by_env.items()):
                    await self._rows.add(env, counts, now, span=HOUR)
            if len(rows) < _ROWS_AT_ONCE:
                return

    async def totals(
        self, first: int, end: int, values: Mapping[str, Sequence[str]], *dimensions: str, limit: int = 10_000
    ) -> list[dict[str, Any]]:
        """
        Return counts by dimensions, the largest first.

        Args:
            first: The first minute; its whole hour counts where minutes are not kept any more.
            end: The minute after the last one.
            values: For some dimensions, the values that are counted.
            dimensions: By what the counts are divided.
            limit: How many there may be.
        """
        await self.fold()
        first = await self._counted_from(first)
        rows = await self._rows.totals(Window(first, end, values), *dimensions, limit=limit)
        return [{**row, "total": int(row["total"])} for row in rows]

    async def buckets(
        self, first: int, end: int, values: Mapping[str, Sequence[str]], minutes: int
    ) -> list[tuple[int, str, int]]:
        """
        Return counts by buckets of so many minutes and actions: the bucket's first minute, the action, the number.
        """
        await self.fold()
        first = await self._counted_from(first)
        rows = await self._rows.buckets(Window(first, end, values), minutes)
        return [(int(row["bucket"]), row["action"], int(row["total"])) for row in rows]

    async def evaluated(self, first: int, end: int, env: str | None) -> dict[str, int]:
        """
        Return how often each rule was evaluated, by whole hours.
        """
        await self.fold()
        rows = await self._rows.evaluated(first - first % HOUR, end, env)
        return {row["rule_name"]: int(row["evaluated"]) for row in rows}

    async def _counted_from(self, first: int) -> int:
        return first if first >= finest(await self._scope.database.now()) else first - first % HOUR

    async def _lock(self) -> None:
        await self._scope.database.lock(f"rollups:{self._scope.tenant_id}")


def counted(values: Mapping[str, Sequence[str]]) -> bool:
    """
    Whether counts are kept by all of these dimensions.
    """
    return values.keys() <= set(DIMENSIONS)


async def fold_all(scopes: Scopes) -> int:
    """
    Add all that was noted, for all tenants.

    Returns:
        How many batches that were.
    """
    return sum(
        [await RollupService(scopes.of(one)).fold() for one in await RollupTenants(scopes.database).with_notes()]
    )


async def tidy(scopes: Scopes) -> None:
    """
    Put older counts together by the hour, and remove those that are over, for all tenants.
    """
    now = await scopes.database.now()
    everybody = RollupTenants(scopes.database)
    for tenant_id in await everybody.with_minutes(finest(now)):
        await RollupService(scopes.of(tenant_id)).coarsen(finest(now))
    await everybody.remove(minute_of(now - ROLLUPS_KEPT))

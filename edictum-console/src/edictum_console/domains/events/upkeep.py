"""
What workers do to the decision log: make room for the months to come, and remove what is kept long enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from edictum_console.db.scope import Scopes, TenantScope
from edictum_console.domains.events.repository import EventUpkeep, day_of
from edictum_console.domains.settings.service import settings_of_all

_LONGEST_DAYS = 3650
_MONTHS_AHEAD = 3
_CHUNK = 5000


async def keep_partitions(scopes: Scopes) -> None:
    """
    Make the months that events may be of soon, and those that some came for too early; drop those that are over.
    """
    upkeep = EventUpkeep(scopes.database)
    today = (await scopes.database.now()).astimezone(UTC).date()
    tenants = (await settings_of_all(scopes.database)).values()
    longest = max(
        [
            *(tenant.event_retention_days for tenant in tenants),
            *(row["event_retention_days"] for row in await upkeep.retention()),
        ],
        default=_LONGEST_DAYS,
    )
    months = {_month(today, ahead) for ahead in range(_MONTHS_AHEAD + 1)}
    months |= {day // 100 for day in await upkeep.stray_days()}
    await upkeep.keep_partitions(_partitions(months), day_of(today - timedelta(days=longest)))


async def remove_over(scopes: Scopes) -> int:
    """
    Remove events that were kept as long as their environment says, else as long as their tenant does.

    Returns:
        How many were removed.
    """
    upkeep = EventUpkeep(scopes.database)
    today = (await scopes.database.now()).astimezone(UTC).date()
    own = await upkeep.retention()
    removed = 0
    for tenant_id, tenant in (await settings_of_all(scopes.database)).items():
        usual = day_of(today - timedelta(days=tenant.event_retention_days))
        said = {row["name"]: row["event_retention_days"] for row in own if row["tenant_id"] == tenant_id}
        for env, days in said.items():
            while found := await upkeep.remove(tenant_id, day_of(today - timedelta(days=days)), env, (), _CHUNK):
                removed += found
        while found := await upkeep.remove(tenant_id, usual, None, list(said), _CHUNK):
            removed += found
    return removed


async def purge(scope: TenantScope, older_than_days: int) -> tuple[int, datetime]:
    """
    Remove all events of a tenant that happened longer ago, whatever is said about keeping them.

    Returns:
        How many were removed, and the beginning of the first day that stays.
    """
    upkeep = EventUpkeep(scope.database)
    day = (await scope.database.now()).astimezone(UTC).date() - timedelta(days=older_than_days)
    removed = 0
    while found := await upkeep.remove(scope.tenant_id, day_of(day), None, (), _CHUNK):
        removed += found
    return removed, datetime(day.year, day.month, day.day, tzinfo=UTC)


def _month(day: date, ahead: int) -> int:
    """
    The month so many months after that of a day, such as 202601.
    """
    months = day.year * 12 + day.month - 1 + ahead
    return months // 12 * 100 + months % 12 + 1


def _partitions(months: Iterable[int]) -> dict[str, tuple[int, int]]:
    bounds = {month: _month(date(month // 100, month % 100, 1), 1) for month in sorted(months)}
    return {
        f"events_{month // 100}_{month % 100:02}": (month * 100 + 1, after * 100 + 1) for month, after in bounds.items()
    }

"""
What workers do to the decision log: make room for the months to come, and remove what is kept long enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, timedelta

from edictum_console.db.scope import Scopes
from edictum_console.domains.events.repository import EventUpkeep, day_of

USUAL_DAYS = 90

_MONTHS_AHEAD = 3
_CHUNK = 5000


async def keep_partitions(scopes: Scopes) -> None:
    """
    Make the months that events may be of soon, and those that some came for too early; drop those that are over.
    """
    upkeep = EventUpkeep(scopes.database)
    today = (await scopes.database.now()).astimezone(UTC).date()
    longest = max([USUAL_DAYS, *(row["event_retention_days"] for row in await upkeep.retention())])
    months = {_month(today, ahead) for ahead in range(_MONTHS_AHEAD + 1)}
    months |= {day // 100 for day in await upkeep.stray_days()}
    await upkeep.keep_partitions(_partitions(months), day_of(today - timedelta(days=longest)))


async def remove_over(scopes: Scopes) -> int:
    """
    Remove events that were kept as long as their environment says, else ninety days.

    Returns:
        How many were removed.
    """
    upkeep = EventUpkeep(scopes.database)
    today = (await scopes.database.now()).astimezone(UTC).date()
    usual = day_of(today - timedelta(days=USUAL_DAYS))
    own = await upkeep.retention()
    removed = 0
    for tenant_id in await upkeep.tenants():
        said = {row["name"]: row["event_retention_days"] for row in own if row["tenant_id"] == tenant_id}
        for env, days in said.items():
            while found := await upkeep.remove(tenant_id, day_of(today - timedelta(days=days)), env, (), _CHUNK):
                removed += found
        while found := await upkeep.remove(tenant_id, usual, None, list(said), _CHUNK):
            removed += found
    return removed


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

"""
Computing figures from the counts of events and the last of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from edictum_console.db.scope import TenantScope
from edictum_console.domains.approvals.service import pending_count
from edictum_console.domains.events.queries import USUAL_WINDOW, EventQueryService
from edictum_console.domains.events.repository import Filter
from edictum_console.domains.events.vocabulary import EventClass, class_of
from edictum_console.domains.events.wire import microseconds_of, moment_of
from edictum_console.domains.rollups.service import RollupService, minute_of
from edictum_console.domains.statistics.schemas import Overview, RuleFigures, RuleStatistics, Spread
from edictum_console.errors import unfit

_DECISIONS = (EventClass.ALLOWED, EventClass.BLOCKED, EventClass.ASKED, EventClass.OBSERVED)
_LAST = 1000


class StatisticsService:
    """
    Figures of one tenant.
    """

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._rollups = RollupService(scope)
        self._events = EventQueryService(scope)

    async def overview(self, env: str | None, since: datetime | None) -> Overview:
        """
        Return the figures of the home page.

        Args:
            env: The environment; None for all.
            since: From when on; None for the last day.
        """
        since, until = await self._window(since, None)
        first, end = minute_of(since), minute_of(until) + 1
        values = {} if env is None else {"env": [env]}
        counts: Counter[str] = Counter()
        for row in await self._rollups.totals(first, end, values, "action"):
            counts[class_of(row["action"])] += row["total"]
        decisions = sum(counts[kind] for kind in _DECISIONS)
        agents = await self._rollups.totals(first, end, values, "agent_id")
        wanted = Filter(values, microseconds_of(since), microseconds_of(until))
        last = await self._events.latest(wanted, _LAST)
        took = [
            row["duration_ms"] for row in last if row["action"] == "call_executed" and row["duration_ms"] is not None
        ]
        lags = [(row["created_at"] - moment_of(row["occurred_at"])) / timedelta(milliseconds=1) for row in last]
        return Overview(
            since,
            until,
            dict(sorted(counts.items())),
            decisions,
            counts[EventClass.BLOCKED] / decisions if decisions else None,
            await pending_count(self._scope, env),
            len(agents),
            await self._events.dropped(wanted),
            _spread(took),
            _spread(lags),
        )

    async def rules(self, env: str | None, since: datetime | None, until: datetime | None) -> RuleStatistics:
        """
        Return what each rule did.

        Args:
            env: The environment; None for all.
            since: From when on; None for a day before the end.
            until: The end; None for now.
        """
        since, until = await self._window(since, until)
        first, end = minute_of(since), minute_of(until) + 1
        values = {} if env is None else {"env": [env]}
        evaluated = await self._rollups.evaluated(first, end, env)
        did: Counter[tuple[str, str]] = Counter()
        for row in await self._rollups.totals(first, end, values, "rule_name", "action"):
            did[row["rule_name"], class_of(row["action"])] += row["total"]
        names = {*evaluated, *(name for name, _ in did if name)}
        figures = [
            RuleFigures(
                name,
                evaluated.get(name, 0),
                *(did[name, kind] for kind in (EventClass.BLOCKED, EventClass.ASKED)),
                *(did[name, kind] for kind in (EventClass.OBSERVED, EventClass.FINDING)),
            )
            for name in names
        ]
        return RuleStatistics(since, until, sorted(figures, key=lambda one: (-one.evaluated, one.rule)))

    async def _window(self, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
        until = _utc(until or await self._scope.database.now())
        since = until - USUAL_WINDOW if since is None else _utc(since)
        if since >= until:
            raise unfit(("since",), "must be before until")
        return since, until


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _spread(values: Sequence[float]) -> Spread:
    ordered = sorted(values)
    if not ordered:
        return Spread(None, None, 0)
    last = len(ordered) - 1
    return Spread(ordered[round(last * 0.5)], ordered[round(last * 0.95)], len(ordered))

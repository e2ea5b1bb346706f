"""
Asking the decision log: pages, single events, facets and counts over time.

Where counts are kept by what a filter asks for, they answer; else the events themselves are counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import attrs
import msgspec

from edictum_console.db.scope import TenantScope
from edictum_console.domains.events.repository import FACETS, EventRepository, Filter
from edictum_console.domains.events.schemas import Bucket, EventPage, Facets, FacetValue, Histogram, WorkflowState
from edictum_console.domains.events.vocabulary import class_of
from edictum_console.domains.events.wire import microseconds_of, moment_of, write, write_older
from edictum_console.domains.rollups.counting import HOUR
from edictum_console.domains.rollups.service import RollupService, counted, finest
from edictum_console.errors import ForbiddenError, NotFoundError, unfit
from edictum_console.http.paging import cursor_id, cut
from edictum_console.security.actor import KeyActor, PersonActor

USUAL_WINDOW = timedelta(hours=24)
MOST_BUCKETS = 2000

_MOST_VALUES = 50
_MICROSECONDS = 60_000_000


class EventQueryService:
    """
    One tenant's decision log, for who reads it.
    """

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._rows = EventRepository(scope)
        self._rollups = RollupService(scope)

    async def page(self, wanted: Filter, actor: KeyActor | PersonActor, cursor: str | None, limit: int) -> EventPage:
        """
        Return some events, the newest first, and where the next page begins.

        Raises:
            ForbiddenError: A key asks for another environment than its own.
        """
        rows, more = cut(await self._rows.page(_seen_by(actor, wanted), cursor_id(cursor), limit + 1), limit, "id")
        return EventPage([write(row) for row in rows if _may_see(actor, row)], more)

    async def older_page(
        self, wanted: Filter, actor: KeyActor | PersonActor, offset: int, limit: int
    ) -> list[dict[str, Any]]:
        """
        Return some events as older consoles did.

        Raises:
            ForbiddenError: A key asks for another environment than its own.
        """
        rows = await self._rows.page(_seen_by(actor, wanted), None, limit, offset)
        return [write_older(row) for row in rows if _may_see(actor, row)]

    async def read(self, event_id: UUID, actor: KeyActor | PersonActor) -> dict[str, Any]:
        """
        Return one event.

        Raises:
            NotFoundError: There is none, as far as the caller may know.
        """
        row = await self._rows.find(event_id)
        if row is None or not _may_see(actor, row):
            raise NotFoundError("there is no such event", "event_not_found")
        return write(row)

    async def facets(self, wanted: Filter) -> Facets:
        """
        Return the most frequent values of each facet.
        """
        wanted = _with_window(wanted, await self._scope.database.now())
        first, end = _minutes(wanted)
        found: dict[str, list[FacetValue]] = {}
        for column in FACETS:
            others = wanted.without(column)
            if wanted.text is None and counted(others.values):
                totals = await self._rollups.totals(first, end, others.values, column, limit=_MOST_VALUES + 1)
            else:
                totals = await self._rows.totals(others, column, _MOST_VALUES + 1)
            values = [FacetValue(row[column], int(row["total"])) for row in totals if row[column]]
            found["rule" if column == "rule_name" else column] = values[:_MOST_VALUES]
        return Facets(*_window(wanted), found)

    async def histogram(self, wanted: Filter, bucket_seconds: int) -> Histogram:
        """
        Return counts by class over time.

        Raises:
            InvalidError: The buckets are no whole minutes, or too many.
        """
        wanted = _with_window(wanted, await self._scope.database.now())
        since, until = _window(wanted)
        if bucket_seconds % 60:
            raise unfit(("bucket_seconds",), "must be whole minutes")
        if (until - since) / timedelta(seconds=bucket_seconds) > MOST_BUCKETS:
            raise unfit(("bucket_seconds",), f"makes more than {MOST_BUCKETS} buckets; choose larger ones")
        minutes = bucket_seconds // 60
        first, end = _minutes(wanted)
        fine = first >= finest(await self._scope.database.now()) or minutes % HOUR == 0
        if fine and wanted.text is None and counted(wanted.values):
            found = await self._rollups.buckets(first, end, wanted.values, minutes)
        else:
            rows = await self._rows.buckets(wanted, minutes)
            found = [(int(row["bucket"]), row["action"], int(row["total"])) for row in rows]
        counts: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for minute, action, number in found:
            kind = class_of(action)
            counts[minute][kind] = counts[minute].get(kind, 0) + number
        buckets = [Bucket(moment_of(minute * _MICROSECONDS), counts[minute]) for minute in sorted(counts)]
        return Histogram(since, until, bucket_seconds, buckets)

    async def latest(self, wanted: Filter, limit: int) -> list[dict[str, Any]]:
        """
        Return how long the last events took, and when they happened and came.
        """
        return await self._rows.latest(wanted, limit)

    async def dropped(self, wanted: Filter) -> int:
        """
        Return how many events agents say that they lost.
        """
        rows = await self._rows.dropped(wanted, 1000)
        return sum(msgspec.json.decode(row["payload"]).get("dropped_before", 0) for row in rows)

    async def workflow_state(
        self, agent_id: str, session_id: str | None, env: str | None, actor: KeyActor | PersonActor
    ) -> WorkflowState:
        """
        Return where the workflow of a session stands.

        Raises:
            ForbiddenError: A key asks for another environment than its own.
            NotFoundError: No event told of one, as far as the caller may know.
        """
        if isinstance(actor, KeyActor):
            env = _own_env(actor, env)
        row = await self._rows.snapshot(env, agent_id, session_id)
        if row is None or not _may_see(actor, row):
            raise NotFoundError("there is no workflow state of this session", "workflow_state_not_found")
        state = msgspec.json.decode(row["snapshot"])
        return WorkflowState(row["agent_id"], row["session_id"], row["env"], state, moment_of(row["occurred_at"]))


def _minutes(wanted: Filter) -> tuple[int, int]:
    """
    The first minute of a window, and the one after its last.
    """
    return (wanted.since or 0) // _MICROSECONDS, -(-(wanted.until or 0) // _MICROSECONDS)


def _with_window(wanted: Filter, now: datetime) -> Filter:
    until = microseconds_of(now) if wanted.until is None else wanted.until
    since = until - USUAL_WINDOW // timedelta(microseconds=1) if wanted.since is None else wanted.since
    if since >= until:
        raise unfit(("since",), "must be before until")
    return attrs.evolve(wanted, since=since, until=until)


def _window(wanted: Filter) -> tuple[datetime, datetime]:
    return moment_of(wanted.since or 0), moment_of(wanted.until or 0)


def _own_env(actor: KeyActor, env: str | None) -> str:
    if env is not None and env != actor.env:
        raise ForbiddenError("the API key is for another environment", "env_mismatch")
    return actor.env


def _seen_by(actor: KeyActor | PersonActor, wanted: Filter) -> Filter:
    if isinstance(actor, PersonActor):
        return wanted
    for env in wanted.values.get("env", ()):
        _own_env(actor, env)
    return attrs.evolve(wanted, values={**wanted.values, "env": [actor.env]})


def _may_see(actor: KeyActor | PersonActor, row: Mapping[str, Any]) -> bool:
    return isinstance(actor, PersonActor) or (row["env"] == actor.env and actor.may_be(row["agent_id"]))

"""
Taking events in: each is stored once, or named with the reason why it is not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import attrs
import msgspec

from edictum_console.db.scope import TenantScope
from edictum_console.domains.events.batches import Batch, read_event
from edictum_console.domains.events.event import Event, Outcome, Rejection
from edictum_console.domains.events.gathering import EventGathering
from edictum_console.domains.events.hearing import Hearing, newest_of
from edictum_console.domains.events.normalising import normalise
from edictum_console.domains.events.plain import plain_events
from edictum_console.domains.events.repository import EventRepository
from edictum_console.domains.events.schemas import Ingested, RejectedEvent
from edictum_console.domains.events.vocabulary import class_of
from edictum_console.domains.events.wire import moment_of
from edictum_console.domains.rollups.service import RollupService
from edictum_console.errors import TooLargeError
from edictum_console.ids import new_id
from edictum_console.metrics import Metrics
from edictum_console.security.actor import KeyActor
from edictum_console.settings import Settings
from edictum_console.state.counting import counted
from edictum_console.state.ports import Limit, RateLimits
from edictum_console.state.pulse import Pulse

# So many events are read, and stored in one transaction, before others have their turn.
_AT_ONCE = 1000

# More bytes than these are read in a thread, while requests go on.
_SMALL = 256 * 1024


@attrs.define
class _Tally:
    """
    What became of the events so far.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: list[RejectedEvent] = attrs.field(factory=list)


class IngestService:
    """
    The way into one tenant's decision log.
    """

    def __init__(
        self,
        scope: TenantScope,
        gathering: EventGathering,
        hearing: Hearing,
        limits: RateLimits,
        settings: Settings,
        metrics: Metrics,
        pulse: Pulse,
    ) -> None:
        self._scope = scope
        self._gathering = gathering
        self._hearing = hearing
        self._limits = limits
        self._settings = settings
        self._metrics = metrics
        self._pulse = pulse
        self._rows = EventRepository(scope)
        self._rollups = RollupService(scope)

    async def ingest(self, batch: Batch, actor: KeyActor) -> Ingested:
        """
        Store what can be stored.

        Large batches are stored in parts, so a request that fails may have been stored in part; the agent sends it
        again, and nothing is there twice.

        Raises:
            TooLargeError: There are more events than one request may have.
            RateLimitedError: The tenant delivers too many.
        """
        most = self._settings.events_per_batch
        if len(batch.events) > most:
            raise TooLargeError(f"a batch has at most {most} events; send it in parts")
        limit = Limit("events", self._settings.events_per_minute, timedelta(minutes=1))
        if not batch.events:
            return Ingested(0, 0, [], batch.id or str(new_id()))
        refusal = "too many events; keep them and send them later"
        async with counted(self._limits, limit, str(actor.tenant_id), refusal, len(batch.events)):
            return await self._ingest(batch, actor)

    async def _ingest(self, batch: Batch, actor: KeyActor) -> Ingested:
        tally, gap = _Tally(), batch.dropped_before
        newest: dict[str, Event] = {}
        for start in range(0, len(batch.events), _AT_ONCE):
            raws = batch.events[start : start + _AT_ONCE]
            now = datetime.now(UTC)
            if batch.size > _SMALL:
                outcomes = await asyncio.to_thread(_outcomes, raws, actor, now)
            else:
                outcomes = _outcomes(raws, actor, now)
            events = self._sorted_out(outcomes, start, tally)
            if events:
                lost = [_gap(events[0], batch, actor, now)] if gap else []
                gap = 0
                place = (actor.tenant_id, actor.env)
                new = await self._gathering.store(place, [*events, *lost], partial(self._store, actor.env))
                accepted = Counter([event.action for event in events if event.id in new])
                if lost and lost[0].id in new:
                    self._metrics.add("edictum_events_dropped_total", batch.dropped_before)
                tally.accepted += accepted.total()
                tally.duplicates += len(events) - accepted.total()
                if accepted:
                    self._pulse.events(actor.tenant_id, actor.env, _by_class(accepted))
                newest_of(newest, events)
                self._count("redacted", sum([event.redacted for event in events]))
                self._count("truncated", sum([event.truncated for event in events]))
        await self._hearing.tell(self._scope, actor.env, newest.values())
        self._count("accepted", tally.accepted)
        self._count("duplicate", tally.duplicates)
        self._count("rejected", len(tally.rejected))
        return Ingested(tally.accepted, tally.duplicates, tally.rejected, batch.id or str(new_id()))

    def _count(self, outcome: str, number: int) -> None:
        if number:
            self._metrics.add("edictum_events_total", number, outcome=outcome)

    def _sorted_out(self, outcomes: Sequence[Outcome], start: int, tally: _Tally) -> list[Event]:
        """
        Note rejections and what is there twice, and return the others.
        """
        events = {}
        for index, outcome in enumerate(outcomes, start):
            if isinstance(outcome, Rejection):
                tally.rejected.append(RejectedEvent(index, outcome.code, outcome.detail))
            elif outcome.id in events:
                tally.duplicates += 1
            else:
                events[outcome.id] = outcome
        return list(events.values())

    async def _store(self, env: str, events: Sequence[Event]) -> set[UUID]:
        now = datetime.now(UTC)
        async with self._scope.transaction():
            new = await self._rows.add(env, events, now)
            fresh = [event for event in events if event.id in new]
            if fresh:
                await self._rollups.note(env, fresh, now)
                newest: dict[tuple[str, str], tuple[int, str]] = {}
                for event in fresh:
                    if event.workflow is not None and event.session_id is not None:
                        session = (event.agent_id, event.session_id)
                        newest[session] = max(newest.get(session, (0, "")), (event.occurred_at, event.workflow))
                if newest:
                    await self._rows.keep_snapshots(env, newest, now)
        return new


def _by_class(actions: Counter[str]) -> Counter[str]:
    classes: Counter[str] = Counter()
    for action, number in actions.items():
        classes[class_of(action).value] += number
    return classes


def _outcomes(raws: Sequence[msgspec.Raw], actor: KeyActor, now: datetime) -> list[Outcome]:
    plain = plain_events(raws, actor, now)
    return [_outcome(raw, actor, now) if event is None else event for raw, event in zip(raws, plain, strict=True)]


def _outcome(raw: msgspec.Raw, actor: KeyActor, now: datetime) -> Outcome:
    try:
        value = read_event(raw)
    except ValueError:
        return Rejection("invalid_json", "the event is not JSON, or nested too deeply")
    return normalise(value, memoryview(raw).nbytes, actor, now)


def _gap(first: Event, batch: Batch, actor: KeyActor, now: datetime) -> Event:
    """
    Make an event that says how many were lost before the first one; delivered again, it is the same.
    """
    said = {
        "action": "events_dropped",
        "agent_id": first.agent_id,
        "session_id": first.session_id,
        "timestamp": moment_of(first.occurred_at).isoformat(),
        "event_id": f"dropped:{batch.id or first.id}",
        "reason": f"the agent lost {batch.dropped_before} events before the next one",
        "dropped_before": batch.dropped_before,
    }
    outcome = normalise(said, 0, actor, now)
    if isinstance(outcome, Rejection):
        raise TypeError(f"an event of the console's own is not one: {outcome.code}")
    return outcome

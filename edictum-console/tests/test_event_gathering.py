from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from edictum_console.domains.events.event import Event
from edictum_console.domains.events.gathering import EventGathering
from edictum_console.errors import UnavailableError
from test_event_upkeep import event


class Log:
    """
    Stores events when it is let, and remembers which it was given together.
    """

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.known: set[UUID] = set()
        self.open = asyncio.Event()
        self.refused: dict[str, Exception] = {}

    async def store(self, events: Sequence[Event]) -> set[UUID]:
        self.calls.append([one.call_id for one in events])
        await self.open.wait()
        for one in events:
            if one.call_id in self.refused:
                raise self.refused[one.call_id]
        new = {one.id for one in events} - self.known
        self.known |= new
        return new


def made(*names: str) -> list[Event]:
    return [event(timedelta(), call_id=name) for name in names]


async def begun(gathering: EventGathering, log: Log, *batches: list[Event]) -> list[asyncio.Task[set[UUID]]]:
    """
    Deliver batches one after the other, while nothing is stored.
    """
    tasks = []
    for batch in batches:
        tasks.append(asyncio.create_task(gathering.store("place", batch, log.store)))
        for _ in range(3):
            await asyncio.sleep(0)
    return tasks


def test_batches_that_wait_are_stored_together_and_each_learns_of_its_own() -> None:
    async def check() -> None:
        gathering, log = EventGathering(), Log()
        tasks = await begun(gathering, log, made("a"), made("b", "c"), made("c", "a"), made("d"))
        assert log.calls == [["a"]]
        log.open.set()
        sizes = [len(new) for new in await asyncio.gather(*tasks)]
        assert log.calls == [["a"], ["b", "c", "a", "d"]]
        assert sizes == [1, 2, 0, 1]
        assert await gathering.store("place", made("e", "a"), log.store) == {made("e")[0].id}

    asyncio.run(check())


def test_places_do_not_wait_for_each_other() -> None:
    async def check() -> None:
        gathering, held, free = EventGathering(), Log(), Log()
        (waiting,) = await begun(gathering, held, made("a"))
        free.open.set()
        assert len(await gathering.store("elsewhere", made("a"), free.store)) == 1
        held.open.set()
        assert len(await waiting) == 1

    asyncio.run(check())


def test_transaction_has_no_more_events_than_it_may() -> None:
    async def check() -> None:
        gathering, log = EventGathering(most=3), Log()
        tasks = await begun(gathering, log, made("a"), made("b", "c"), made("d", "e"), made("f", "g", "h", "i"))
        log.open.set()
        await asyncio.gather(*tasks)
        assert log.calls == [["a"], ["b", "c"], ["d", "e"], ["f", "g", "h", "i"]]

    asyncio.run(check())


def test_batch_that_cannot_be_stored_does_not_keep_others_out() -> None:
    async def check() -> None:
        gathering, log = EventGathering(), Log()
        log.refused["b"] = ZeroDivisionError()
        tasks = await begun(gathering, log, made("a"), made("b"), made("c"))
        log.open.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [set, ZeroDivisionError, set]
        assert len(log.known) == 2

    asyncio.run(check())


def test_database_that_is_away_fails_all_that_wait_and_the_next_is_tried_anew() -> None:
    async def check() -> None:
        gathering, log = EventGathering(), Log()
        log.refused["b"] = UnavailableError("away")
        tasks = await begun(gathering, log, made("a"), made("b"), made("c"))
        log.open.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [set, UnavailableError, UnavailableError]
        assert len(log.calls) == 2
        assert len(await gathering.store("place", made("c"), log.store)) == 1

    asyncio.run(check())


def test_request_that_ends_early_takes_no_other_along() -> None:
    async def check() -> None:
        gathering, log = EventGathering(), Log()
        tasks = await begun(gathering, log, made("a"), made("b"), made("c"))
        for task in tasks[:2]:
            task.cancel()
        await asyncio.wait(tasks[:2])
        log.open.set()
        assert len(await tasks[2]) == 1
        assert len(log.known) == 3
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]

    asyncio.run(check())

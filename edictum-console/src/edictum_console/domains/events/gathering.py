"""
Storing the batches of several requests in one transaction: a commit costs as much for one batch as for twenty.

A batch that comes while nobody writes is stored at once.  Those that come meanwhile wait for each other, never longer
than one transaction takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias
from uuid import UUID

import attrs

from edictum_console.domains.events.event import Event
from edictum_console.errors import UnavailableError

Store: TypeAlias = Callable[[Sequence[Event]], Awaitable[set[UUID]]]


@attrs.define
class _Waiting:
    events: Sequence[Event]
    stored: asyncio.Future[set[UUID]]


class Gathering:
    """
    The batches of this process that wait to be stored, by where they belong.

    Args:
        most: How many events one transaction may have, unless a single batch has more.
    """

    def __init__(self, most: int = 2000) -> None:
        self._most = most
        self._waiting: dict[object, list[_Waiting]] = {}
        self._writers: set[asyncio.Task[None]] = set()

    async def store(self, place: object, events: Sequence[Event], store: Store) -> set[UUID]:
        """
        Store a batch, perhaps together with others.

        Args:
            place: Where it belongs; only batches of one place are stored together.
            events: The batch; no event is in it twice.
            store: Stores events of this place in a transaction, and returns the ids of those that are new.

        Returns:
            The ids of those that are new; an event of two batches is new in the first one only.

        Raises:
            UnavailableError: The transaction failed; nothing of the batch is known to be stored.
        """
        one = _Waiting(events, asyncio.get_running_loop().create_future())
        if place in self._waiting:
            self._waiting[place].append(one)
        else:
            self._waiting[place] = [one]
            writer = asyncio.create_task(self._write(place, store))
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return await one.stored

    async def _write(self, place: object, store: Store) -> None:
        """
        Store what waits until nothing does; in a task of its own, so that no request's end takes the others along.
        """
        try:
            while self._waiting[place]:
                batches = self._take(self._waiting[place])
                try:
                    await self._together(batches, store)
                except UnavailableError as error:
                    _fail(batches, error)
                except Exception:
                    await self._each(batches, store)
        finally:
            for one in self._waiting.pop(place):
                one.stored.cancel()

    async def _each(self, batches: Sequence[_Waiting], store: Store) -> None:
        """
        Store each batch for itself: whatever is wrong with one must not keep the others out.
        """
        for one in batches:
            try:
                await self._together([one], store)
            except Exception as error:
                _fail([one], error)

    async def _together(self, batches: Sequence[_Waiting], store: Store) -> None:
        events: dict[UUID, Event] = {}
        for one in batches:
            for event in one.events:
                events.setdefault(event.id, event)
        new = await store(list(events.values()))
        for one in batches:
            mine = {event.id for event in one.events} & new
            new -= mine
            if not one.stored.done():  # its request may have ended
                one.stored.set_result(mine)

    def _take(self, waiting: list[_Waiting]) -> list[_Waiting]:
        number = size = 0
        for one in waiting:
            size += len(one.events)
            if number and size > self._most:
                break
            number += 1
        taken = waiting[:number]
        del waiting[:number]
        return taken


def _fail(batches: Sequence[_Waiting], error: Exception) -> None:
    for one in batches:
        if not one.stored.done():
            one.stored.set_exception(error)

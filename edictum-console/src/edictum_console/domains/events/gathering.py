"""
Storing the batches of several requests in one transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias
from uuid import UUID

from edictum_console.domains.events.event import Event
from edictum_console.gathering import Gathering

Store: TypeAlias = Callable[[Sequence[Event]], Awaitable[set[UUID]]]


class EventGathering:
    """
    The batches of this process that wait to be stored, by where they belong.

    Args:
        most: How many events one transaction may have, unless a single batch has more.
    """

    def __init__(self, most: int = 2000) -> None:
        self._gathering: Gathering[Sequence[Event], set[UUID]] = Gathering(most, len)

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
        return await self._gathering.done(place, events, partial(_stored, store))


async def _stored(store: Store, batches: Sequence[Sequence[Event]]) -> list[set[UUID] | Exception]:
    events: dict[UUID, Event] = {}
    for batch in batches:
        for event in batch:
            events.setdefault(event.id, event)
    new = await store(list(events.values()))
    found: list[set[UUID] | Exception] = []
    for batch in batches:
        mine = {event.id for event in batch} & new
        new -= mine
        found.append(mine)
    return found

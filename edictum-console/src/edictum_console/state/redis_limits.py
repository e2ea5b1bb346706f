"""
Counting in Redis how much everybody asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import attrs
from redis.asyncio import Redis

from edictum_console.errors import UnavailableError
from edictum_console.state.memory import PARTS, MemoryRateLimits
from edictum_console.state.ports import Limit
from edictum_console.state.redis import MEMBERS, PREFIX, milliseconds, reaching, script


@attrs.frozen
class _Asked:
    """
    Something that is to be counted, and the milliseconds until it may happen.
    """

    key: str
    words: tuple[int, int, int]
    answer: asyncio.Future[float]


class RedisRateLimits:
    """
    Counts in Redis; where that is allowed, in this process while Redis cannot be reached.

    Every request of an agent counts, and asking Redis costs this process as much as a tenth of a batch of events.  So
    what is to be counted while Redis is being asked waits for the answer, and then goes there together.
    """

    def __init__(self, client: Redis) -> None:
        self._script = script(client, "take.lua")
        self._alone = MemoryRateLimits()
        self._waiting: list[_Asked] = []
        self._asking: asyncio.Task[None] | None = None

    async def take(self, limit: Limit, subject: str, cost: int = 1) -> float:
        """
        Count something, if it may happen.
        """
        try:
            return await self._change(limit, subject, min(cost, limit.count)) / 1000
        except UnavailableError:
            if limit.strict:
                raise
            return await self._alone.take(limit, subject, cost)

    async def give_back(self, limit: Limit, subject: str, cost: int = 1) -> None:
        """
        Undo a count.
        """
        try:
            await self._change(limit, subject, -min(cost, limit.count))
        except UnavailableError:
            await self._alone.give_back(limit, subject, cost)

    async def _change(self, limit: Limit, subject: str, cost: int) -> float:
        length = max(1, milliseconds(limit.per) // PARTS)
        answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        key = f"{PREFIX}:limit:{limit.name}:{subject}"
        self._waiting.append(_Asked(key, (limit.count, length, cost), answer))
        if self._asking is None:
            # In a task of its own, so that no request's end takes the others along.
            self._asking = asyncio.create_task(self._ask())
        return await answer

    async def _ask(self) -> None:
        """
        Ask for what waits until nothing does.
        """
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[:MEMBERS], self._waiting[MEMBERS:]
                try:
                    await self._ask_for(asked)
                except Exception as error:
                    # What came meanwhile is told as well: it would only wait as long for the same.
                    asked += self._waiting
                    self._waiting = []
                    for one in asked:
                        if not one.answer.done():
                            one.answer.set_exception(error)
        finally:
            self._asking = None
            for one in self._waiting:
                one.answer.cancel()
            self._waiting = []

    async def _ask_for(self, asked: Sequence[_Asked]) -> None:
        words = [word for one in asked for word in one.words]
        with reaching():
            waits = await self._script(keys=[one.key for one in asked], args=[PARTS, *words])
        for one, wait in zip(asked, waits, strict=True):
            if not one.answer.done():  # its request may have ended
                one.answer.set_result(float(wait))

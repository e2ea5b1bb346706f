"""
Counting in Redis how much everybody asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from redis.asyncio import Redis

from edictum_console.errors import UnavailableError
from edictum_console.gathering import Gathering
from edictum_console.state.memory import PARTS, MemoryRateLimits
from edictum_console.state.ports import Limit
from edictum_console.state.redis import MEMBERS, PREFIX, milliseconds, reaching, script

_Words: TypeAlias = tuple[int, int, int]


class RedisRateLimits:
    """
    Counts in Redis; where that is allowed, in this process while Redis cannot be reached.

    Every request of an agent counts, and asking Redis costs this process as much as a tenth of a batch of events.  So
    what is to be counted while Redis is being asked waits for the answer, and then goes there together.
    """

    def __init__(self, client: Redis) -> None:
        self._script = script(client, "take.lua")
        self._alone = MemoryRateLimits()
        self._gathering: Gathering[tuple[str, _Words], float] = Gathering(MEMBERS)

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
        """
        Change a count; return the milliseconds until it may happen.
        """
        length = max(1, milliseconds(limit.per) // PARTS)
        key = f"{PREFIX}:limit:{limit.name}:{subject}"
        return await self._gathering.done(None, (key, (limit.count, length, cost)), self._ask)

    async def _ask(self, asked: Sequence[tuple[str, _Words]]) -> list[float | Exception]:
        words = [word for _, words in asked for word in words]
        with reaching():
            waits = await self._script(keys=[key for key, _ in asked], args=[PARTS, *words])
        return [float(wait) for wait in waits]

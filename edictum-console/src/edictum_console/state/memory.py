"""
Limits, hints and presence inside one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from edictum_console.state.ports import PRESENCE_LIFETIME, Limit, Listener, Present, Signal

# A window is counted in parts, so that a counter needs little memory however large its limit.  The oldest part counts
# fully until it has left the window, which errs to the side of refusing.
PARTS = 10

_SWEEP_EVERY = 1000


class MemoryRateLimits:
    """
    Counts in this process.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[tuple[str, str], dict[int, int]] = {}
        self._ends: dict[tuple[str, str], float] = {}
        self._taken = 0

    async def take(self, limit: Limit, subject: str, cost: int = 1) -> float:
        """
        Count something, if it may happen.
        """
        self._sweep()
        now = self._clock()
        length = limit.per.total_seconds() / PARTS
        part = int(now // length)
        name = (limit.name, subject)
        counts = {number: count for number, count in self._counts.get(name, {}).items() if number >= part - PARTS}
        cost = min(cost, limit.count)
        excess = sum(counts.values()) + cost - limit.count
        for number in sorted(counts):
            if excess <= 0:
                break
            excess -= counts[number]
            if excess <= 0:
                return (number + PARTS + 1) * length - now
        counts[part] = counts.get(part, 0) + cost
        self._counts[name] = counts
        self._ends[name] = now + limit.per.total_seconds() + length
        return 0.0

    async def give_back(self, limit: Limit, subject: str, cost: int = 1) -> None:
        """
        Undo a count.
        """
        counts = self._counts.get((limit.name, subject))
        if counts:
            newest = max(counts)
            counts[newest] -= min(cost, limit.count)

    def _sweep(self) -> None:
        """
        Forget counters that are over, so that subjects that never come again cost no memory.
        """
        self._taken += 1
        if self._taken % _SWEEP_EVERY == 0:
            now = self._clock()
            for name in [name for name, end in self._ends.items() if end < now]:
                del self._ends[name], self._counts[name]


class LocalMemory:
    """
    Remembers in this process.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    async def first(self, what: str, lifetime: timedelta) -> bool:
        """
        Remember something for some time; say whether it was not remembered yet.
        """
        now = self._clock()
        if len(self._until) >= _SWEEP_EVERY:
            self._until = {name: until for name, until in self._until.items() if until > now}
        if self._until.get(what, now) > now:
            return False
        self._until[what] = now + lifetime.total_seconds()
        return True


class MemoryBus:
    """
    Carries hints inside this process.
    """

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    async def send(self, signal: Signal) -> None:
        """
        Call all listeners.
        """
        self.deliver(signal)

    def deliver(self, signal: Signal) -> None:
        """
        Call all listeners, at once.
        """
        for listener in list(self._listeners):
            listener(signal)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """
        Call a function for every signal, until the one that is returned is called.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


class MemoryPresence:
    """
    Knows the streams of this process.
    """

    def __init__(self, lifetime: timedelta = PRESENCE_LIFETIME) -> None:
        self._lifetime = lifetime.total_seconds()
        self._until: dict[UUID, dict[Present, float]] = {}

    async def keep(self, tenant_id: UUID, streams: Sequence[Present]) -> None:
        """
        Say that streams are open.
        """
        until = time.monotonic() + self._lifetime
        self._until.setdefault(tenant_id, {}).update(dict.fromkeys(streams, until))

    async def leave(self, tenant_id: UUID, streams: Sequence[Present]) -> None:
        """
        Say that streams are closed.
        """
        for stream in streams:
            self._until.get(tenant_id, {}).pop(stream, None)

    async def all(self, tenant_id: UUID) -> list[Present]:
        """
        The streams of a tenant.
        """
        now = time.monotonic()
        alive = {stream: until for stream, until in self._until.get(tenant_id, {}).items() if until > now}
        self._until[tenant_id] = alive
        return list(alive)

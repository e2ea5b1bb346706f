"""
A storage backend as third parties write it.
"""

from __future__ import annotations

import asyncio
import threading

from edictum.storage import parse_counter


class PlainBackend:
    """
    A storage backend with the four basic methods only.

    Args:
        yields: Let other tasks run before each step, as a backend behind a network does.
    """

    def __init__(self, *, yields: bool = False) -> None:
        self.data: dict[str, str] = {}
        self._yields = yields
        self._lock = threading.Lock()

    async def get(self, key: str) -> str | None:
        await self.step()
        return self.data.get(key)

    async def set(self, key: str, value: str) -> None:
        await self.step()
        self.data[key] = value

    async def delete(self, key: str) -> None:
        await self.step()
        self.data.pop(key, None)

    async def increment(self, key: str, amount: float = 1) -> float:
        await self.step()
        with self._lock:
            value = parse_counter(key, self.data.get(key)) + amount
            self.data[key] = str(int(value)) if value == int(value) else repr(value)
            return value

    async def step(self) -> None:
        """
        Where the backend would wait for its server.
        """
        if self._yields:
            await asyncio.sleep(0)

"""
A storage backend as third parties write it, and ways to use one without an event loop and from many threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


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
            value = float(self.data.get(key, "0")) + amount
            self.data[key] = str(int(value)) if value.is_integer() else repr(value)
            return value

    async def step(self) -> None:
        """
        Where the backend would wait for its server.
        """
        if self._yields:
            await asyncio.sleep(0)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    The result of a coroutine that never waits, without an event loop.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("the coroutine waited")


def in_threads(number: int, work: Callable[[], T]) -> list[T]:
    """
    What the same work gives in so many threads that begin together.
    """
    barrier = threading.Barrier(number)

    def begin() -> T:
        barrier.wait(60)
        return work()

    with ThreadPoolExecutor(number) as pool:
        return [future.result(60) for future in [pool.submit(begin) for _ in range(number)]]

"""
Locks by key that work across event loops and threads.

``asyncio.Lock`` belongs to one loop and ``threading.Lock`` would stop a loop, so waiters are woken on
whichever loop they wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class KeyedLocks:
    """
    One lock for each key in use; nothing is kept for keys that nobody holds.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiters: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """
        Hold the lock of a key.
        """
        await self._acquire(key)
        try:
            yield
        finally:
            self._release(key)

    async def _acquire(self, key: str) -> None:
        import asyncio

        with self._guard:
            queue = self._waiters.get(key)
            if queue is None:
                self._waiters[key] = deque()
                return
            turn = asyncio.get_running_loop().create_future()
            queue.append(turn)
        try:
            await turn
        except BaseException:  # cancelled, or closed with its loop
            with self._guard:
                waiting = turn in queue
                if waiting:
                    queue.remove(turn)
            if not waiting:  # the lock was handed over while the waiter was cancelled
                self._release(key)
            raise

    def _release(self, key: str) -> None:
        with self._guard:
            queue = self._waiters[key]
            while queue:
                turn = queue.popleft()
                try:
                    turn.get_loop().call_soon_threadsafe(_wake, turn)
                except RuntimeError:  # the waiter's loop is closed: nobody waits there any more
                    continue
                return
            del self._waiters[key]


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)

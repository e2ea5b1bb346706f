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
        self._waiters: dict[str, deque[_Turn]] = {}

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
            turn = _Turn(asyncio.get_running_loop().create_future())
            queue.append(turn)
        try:
            await turn.comes
        except BaseException:  # cancelled, or closed with its loop
            with self._guard:
                if turn in queue:
                    queue.remove(turn)
            if turn.given:
                self._release(key)
            raise

    def _release(self, key: str) -> None:
        with self._guard:
            queue = self._waiters[key]
            while queue:
                turn = queue.popleft()
                turn.given = True
                try:
                    turn.comes.get_loop().call_soon_threadsafe(_wake, turn.comes)
                except RuntimeError:  # the waiter's loop is closed: nobody waits there any more
                    turn.given = False
                    continue
                return
            del self._waiters[key]


class _Turn:
    """
    One who waits, and whether the lock was handed over to it.
    """

    __slots__ = ("comes", "given")

    def __init__(self, comes: asyncio.Future[None]) -> None:
        self.comes = comes
        self.given = False


def _wake(comes: asyncio.Future[None]) -> None:
    if not comes.done():
        comes.set_result(None)

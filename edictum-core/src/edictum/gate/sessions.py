"""
The counters that all hook processes of a user share.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from edictum.sqlite_storage import SqliteBackend
from edictum.storage import Batch, NoRoom

T = TypeVar("T")

FORGOTTEN_AFTER_DAYS = 30


class HookSessions(SqliteBackend):
    """
    Session state for a process that makes one call and ends.

    It waits for other processes without an event loop, which takes as long to import as half of the check.

    Args:
        path: The file; its folder must exist.
        patience: How many seconds a step waits for other processes.

    Raises:
        EdictumConfigError: The file is no database of this version of edictum.
        OSError: The file cannot be made, or (a ``TimeoutError``) another process keeps it locked.
    """

    def __init__(self, path: str | os.PathLike[str], patience: float = 5.0) -> None:
        self._patience = patience
        super().__init__(path, timeout=patience)

    def reserve_now(self, batch: Batch) -> tuple[float, ...]:
        """
        See :class:`~edictum.storage.ImmediateBackend`.
        """
        result = run_at_once(self.reserve(batch.changes))
        if not result.ok:
            raise NoRoom(result.values, result.failed_key or "")
        return result.values

    def settle_now(self, batch: Batch, failures: str, success: bool) -> None:
        """
        See :class:`~edictum.storage.ImmediateBackend`.
        """
        run_at_once(self.settle(batch.changes, failures, success))

    def forget_old(self) -> int:
        """
        Remove sessions that nobody has used for 30 days.

        Also those with running calls, as which all calls of hooks count: nobody says when their tools have ended.

        Returns:
            How many were removed.
        """
        return run_at_once(self.purge(FORGOTTEN_AFTER_DAYS * 86_400, unfinished=True))

    async def _run(self, step: Callable[[sqlite3.Connection], T], *, write: bool = True) -> T:
        deadline, pause = time.monotonic() + self._patience, 0.0
        while True:
            try:
                return self._attempt(step, write)
            except sqlite3.OperationalError as error:
                pause = self._pause_after(error, pause, deadline)
            time.sleep(pause)


def run_at_once(steps: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine that waits for nothing, without an event loop.
    """
    try:
        steps.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    steps.close()
    raise RuntimeError("this step waits for something; it needs an event loop")

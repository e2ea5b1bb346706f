"""
Ending on a signal, at any moment from the first import on.

The first process of a container has no default actions: a signal that it does not handle is lost, and after some time
the container is killed.  So there is always a handler.  While nothing is open, it ends the process at once; while the
console is being opened, it cancels that, so that what is open already is closed; and once it serves, the server ends in
order.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_OFFSET = 128  # as shells count: the code of a process that a signal ended


class StoppedError(Exception):
    """
    A signal ended what was going on.

    Attributes:
        code: The exit code of the process.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"stopped, exit code {code}")
        self.code = code


class Stopping:
    """
    What signals do to the task that made this: they cancel it, until it hands them over to somebody else.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._task = asyncio.current_task()
        self._heir: Callable[[int], None] | None = None

    def hand_over(self, heir: Callable[[int], None]) -> None:
        """
        Let somebody else see to signals from now on.

        Raises:
            CancelledError: One came before, and a driver lost the cancellation.
        """
        if self.code is not None:
            raise asyncio.CancelledError
        self._heir = heir

    def heed(self, number: int) -> None:
        """
        Take a signal; one that comes while things are being closed ends the process at once.
        """
        if self._heir is not None:
            self._heir(number)
        elif self.code is None and self._task is not None:
            self.code = _OFFSET + number
            self._task.cancel()
        else:
            _end(number)


@contextmanager
def stopping_on_signals() -> Iterator[Stopping]:
    """
    See to signals meanwhile, on the running loop.

    Raises:
        StoppedError: One came, and what was going on was cancelled.
    """
    loop, stopping = asyncio.get_running_loop(), Stopping()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stopping.heed, number)
    try:
        yield stopping
    except BaseException:
        if stopping.code is None:
            raise
        # Whatever it was by the time it came through everything that had to be closed.
        raise StoppedError(stopping.code) from None
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def end_on_signals() -> None:
    """
    End the process at once on a signal, as long as nothing is open.
    """
    for number in _SIGNALS:
        signal.signal(number, lambda number, _: _end(number))


def _end(number: int) -> None:
    os._exit(_OFFSET + number)

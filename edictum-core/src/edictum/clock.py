"""
Time as a port, so that tests decide what time it is.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """
    What the guard wants to know about time.
    """

    def now(self) -> datetime:
        """
        The current moment, with its time zone.
        """

    def monotonic(self) -> float:
        """
        Seconds from an arbitrary start that never run backwards.
        """


class SystemClock:
    """
    The clock of the machine.
    """

    __slots__ = ()

    # Without functions of its own: both are asked several times for every call.
    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)

"""
Clocks for tests: one that stands still until it is told to go on, and one that is broken.

    clock = ManualClock()
    guard = Edictum.from_yaml("rules.yaml", clock=clock)
    clock.advance(3.5)
"""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime, timedelta

from edictum.clock import Clock, SystemClock
from edictum.testing.faults import Faults

START = datetime(2030, 1, 1, tzinfo=UTC)


class ManualClock:
    """
    A clock whose time passes only when a test says so.

    It is the clock of a guard.  Timers of an event loop, such as ``asyncio.sleep``, do not know it.

    Safe for several threads.

    Args:
        start: The time of day that it begins with.

    Raises:
        ValueError: ``start`` has no time zone.
    """

    def __init__(self, start: datetime = START) -> None:
        if start.tzinfo is None:
            raise ValueError(f"{start} has no time zone; give one, for example tzinfo=UTC")
        self._now = start
        self._seconds = 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """
        The current moment.
        """
        return self._now

    def monotonic(self) -> float:
        """
        Seconds since the clock was made.
        """
        return self._seconds

    def advance(self, seconds: float) -> None:
        """
        Let time pass.

        Raises:
            ValueError: The time is negative, or no number.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"time does not pass by {seconds} seconds; to set the time of day use set_time()")
        with self._lock:
            self._seconds += seconds
            self._now += timedelta(seconds=seconds)

    def set_time(self, now: datetime) -> None:
        """
        Set the time of day, as an administrator or a time server does; it may go back, :meth:`monotonic` does not.

        Raises:
            ValueError: The moment has no time zone.
        """
        if now.tzinfo is None:
            raise ValueError(f"{now} has no time zone; give one, for example tzinfo=UTC")
        with self._lock:
            self._now = now


class BrokenClock:
    """
    A clock that raises.

    Args:
        clock: The clock that it is while it works; that of the machine if None.
        faults: Which readings raise, those of both methods counted together; all of them if None.
    """

    def __init__(self, clock: Clock | None = None, faults: Faults | None = None) -> None:
        self._clock = SystemClock() if clock is None else clock
        self._faults = Faults(error=OSError("the clock is broken")) if faults is None else faults

    def now(self) -> datetime:
        """
        The current moment.
        """
        return self._faults.around(self._clock.now)

    def monotonic(self) -> float:
        """
        Seconds from an arbitrary start.
        """
        return self._faults.around(self._clock.monotonic)
